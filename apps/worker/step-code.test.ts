import { type StepKind, stepVersions } from '@cairn/contract';
import { expect, it } from 'vitest';
import recorded from './step-code.json' with { type: 'json' };
import { readStepCode } from './testing/step-code.ts';

it.each(Object.keys(stepVersions) as StepKind[])('it was decided whether the code of %s still gives the same results', (kind) => {
  const { version, files } = readStepCode()[kind];
  const was: Record<string, string> = recorded[kind].files;
  const changed = [...new Set([...Object.keys(files), ...Object.keys(was)])].filter((file) => files[file] !== was[file]);
  const how = `Raise stepVersions.${kind} (libs/contract/step-versions.ts) if its results may change, then record the decision:
    node apps/worker/testing/decide-step-code.ts   # or, where they cannot change: --same ${kind}`;
  expect({ version, changed }, `${changed.join(', ')} changed. ${how}`).toEqual({ version: recorded[kind].version, changed: [] });
});
