import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CheckReport, type PhaseName, phaseNames, toJson } from './check-report.ts';
import { type Phase, runPhase } from './phase.ts';

/** The share of the whole time that a phase may take; what one leaves is there for the ones after it. */
const shares = { machine: 0.05, train: 0.42, exactness: 0.17, export: 0.12, extract: 0.28, search: 0.15 } satisfies Record<
  PhaseName,
  number
>;
/** Kept for the last report. */
const reserveSeconds = 3;

const loaders = {
  machine: async () => (await import('./phases/machine.ts')).machine,
  train: async () => (await import('./phases/train.ts')).train,
  exactness: async () => (await import('./phases/exactness.ts')).exactness,
  export: async () => (await import('./phases/inference.ts')).exportModels,
  extract: async () => (await import('./phases/inference.ts')).extract,
  search: async () => (await import('./phases/inference.ts')).search,
} satisfies Record<PhaseName, () => Promise<Phase>>;

/** `npm run gpu -- check`: runs the phases one after the other, each within its time, and writes the report after each. The exit code. */
export async function check(args: string[]): Promise<number> {
  const options = {
    dry: { type: 'boolean', default: false },
    phases: { type: 'string', default: phaseNames.join(',') },
    'limit-s': { type: 'string', default: '480' },
    out: { type: 'string', default: 'report.json' },
  } as const;
  const { dry: isDry, phases: chosen, 'limit-s': limit, out } = parseArgs({ args, options }).values;
  const wanted = chosen.split(',');
  const unknown = wanted.find((name) => !(phaseNames as readonly string[]).includes(name));
  const limitSeconds = Number(limit);
  if (unknown !== undefined) throw new Error(`there is no phase "${unknown}"; there are ${phaseNames.join(', ')}`);
  if (!(limitSeconds > 0)) throw new Error(`--limit-s is ${limit}; it must be a number of seconds`);

  const began = Date.now();
  const left = () => limitSeconds - reserveSeconds - (Date.now() - began) / 1000;
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(new Error(signal)));
  const work = await mkdtemp(join(tmpdir(), 'cairn-gpu-check-'));
  const report: CheckReport = { version: 1, at: new Date(began).toISOString(), commit: await commitOf(), isDry, limitSeconds, phases: [] };
  const python = process.env.CAIRN_PYTHON ?? 'python3';
  try {
    for (const name of phaseNames.filter((one) => wanted.includes(one))) {
      const seconds = wanted.length === 1 ? left() : Math.min(left(), limitSeconds * shares[name]);
      if (seconds <= 1 || stop.signal.aborted) {
        report.phases.push({ name, outcome: 'skipped', seconds: 0, figures: {}, failures: [] });
      } else {
        console.log(`\n== ${name}: at most ${seconds.toFixed(0)} of the ${left().toFixed(0)} s left`);
        const folder = join(work, name);
        await mkdir(folder);
        const phase: Phase = async (context) => (await loaders[name]())(context);
        const result = await runPhase(phase, { name, folder, python, isDry, limitSeconds: seconds, signal: stop.signal });
        report.phases.push({ name, ...result });
        console.log(`== ${name}: ${result.outcome} after ${result.seconds} s`);
        await rm(folder, { recursive: true, force: true, maxRetries: 3 });
      }
      await writeFile(out, toJson(report));
    }
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 3 });
  }
  const bad = report.phases.filter(({ outcome }) => outcome !== 'done');
  console.log(
    `\n${out}: ${report.phases.length - bad.length} phases done${bad.map(({ name, outcome }) => `, ${name} ${outcome}`).join('')}`,
  );
  return bad.length === 0 ? 0 : 1;
}

/** Of the parts that were unpacked; a clone says what it is. */
async function commitOf(): Promise<string> {
  const manifest = join(import.meta.dirname, '../../../../.unpacked');
  try {
    return (JSON.parse(await readFile(manifest, 'utf8')) as { commit: string }).commit;
  } catch {
    return 'a clone';
  }
}
