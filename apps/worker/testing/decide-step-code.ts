import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type StepKind, stepVersions } from '@cairn/contract';
import { readStepCode, type StepCode } from './step-code.ts';

/**
 * Records the code of each kind of step as decided: `node apps/worker/testing/decide-step-code.ts`. First decide: where a change may change
 * results, raise the kind's version in libs/contract/step-versions.ts; kinds that changed without that are named after `--same`.
 */
const recorded = join(import.meta.dirname, '../step-code.json');
const now = readStepCode();
const before = JSON.parse(readFileSync(recorded, 'utf8')) as Partial<Record<StepKind, StepCode>>;
const same = process.argv[2] === '--same' ? process.argv.slice(3) : [];
const undecided = (Object.keys(now) as StepKind[]).filter(
  (kind) =>
    JSON.stringify(before[kind]?.files) !== JSON.stringify(now[kind].files) &&
    before[kind]?.version === stepVersions[kind] &&
    !same.includes(kind),
);
if (undecided.length > 0) {
  process.stderr.write(
    `The code of ${undecided.join(', ')} changed. May it change results? Then raise their versions in libs/contract/step-versions.ts.\n` +
      `If not: node apps/worker/testing/decide-step-code.ts --same ${[...new Set([...same, ...undecided])].join(' ')}\n`,
  );
  process.exit(1);
}
writeFileSync(recorded, `${JSON.stringify(now, null, 2)}\n`);
