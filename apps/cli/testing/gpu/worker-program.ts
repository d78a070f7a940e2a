import { join } from 'node:path';
import type { PhaseContext } from './phase.ts';
import { runWell } from './run-bounded.ts';

const folder = join(import.meta.dirname, '../../../worker/testing/bench');

/** Runs a program of the worker's benches, which prints one JSON value as its last line. */
export async function askWorker(
  { signal, python }: PhaseContext,
  program: string,
  args: readonly string[],
  limitMs = 120_000,
): Promise<unknown> {
  const out = await runWell({
    what: program,
    command: process.execPath,
    args: [join(folder, program), ...args],
    env: { ...process.env, CAIRN_PYTHON: python },
    signal,
    limitMs,
  });
  return JSON.parse(out.trimEnd().split('\n').at(-1) ?? '');
}
