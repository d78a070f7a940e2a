import { join } from 'node:path';
import type { PhaseContext } from './phase.ts';
import { runWell } from './run-bounded.ts';

const folder = join(import.meta.dirname, '../../../worker/testing/bench');

/** Runs a program of the worker's benches, which prints one JSON value as its last line; `env` is added to this program's own. */
export async function askWorker(
  { signal, python }: PhaseContext,
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<unknown> {
  const out = await runWell({
    what: program,
    command: process.execPath,
    args: [join(folder, program), ...args],
    env: { ...process.env, CAIRN_PYTHON: python, ...env },
    signal,
    limitMs: 120_000,
  });
  return JSON.parse(out.trimEnd().split('\n').at(-1) ?? '');
}
