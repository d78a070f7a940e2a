import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { type Phase, runPhase } from './phase.ts';
import { runWell } from './run-bounded.ts';

function run(phase: Phase, limitSeconds = 60) {
  const silent = vi.spyOn(console, 'log').mockImplementation(() => undefined);
  onTestFinished(() => silent.mockRestore());
  return runPhase(phase, {
    name: 'phase',
    folder: '/tmp',
    python: 'python3',
    isDry: true,
    limitSeconds,
    signal: new AbortController().signal,
  });
}

test('a measurement that fails is recorded with its last lines, and the next is made', async () => {
  const result = await run(async ({ attempt, record, signal }) => {
    const sh = (script: string) =>
      runWell({ what: 'the program', command: 'sh', args: ['-c', script], env: { PATH: process.env.PATH }, signal, limitMs: 10_000 });
    for (const script of ['echo 1', 'echo why >&2; exit 3', 'echo 2']) {
      const out = await attempt(script, () => sh(script));
      if (out !== null) record('found', [Number(out)]);
    }
  });
  expect(result).toMatchObject({ outcome: 'failed', figures: { found: [1, 2] } });
  expect(result.failures).toEqual([{ message: expect.stringContaining('the program ended with exit code 3: why'), lastLines: ['why'] }]);
});

test('a phase whose time is over keeps its figures, and nothing that it started is left', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-phase-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const pidFile = join(folder, 'pid');
  const result = await run(async ({ record, signal }) => {
    record('before', 1);
    const script = `sleep 60 & echo $! >${pidFile}; wait`;
    await runWell({ what: 'the program', command: 'sh', args: ['-c', script], env: { PATH: process.env.PATH }, signal, limitMs: 60_000 });
  }, 1);
  expect(result).toMatchObject({ outcome: 'out of time', figures: { before: 1 } });
  // What the program had started is gone too; who adopted it may not have noticed yet.
  const state = `/proc/${(await readFile(pidFile, 'utf8')).trim()}/stat`;
  await expect.poll(() => readFile(state, 'utf8').catch(() => 'gone'), { timeout: 10_000 }).toMatch(/^gone$|\) Z /);
});
