import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { stopAgents } from './stop-agents.ts';

let home: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'agents-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(home, { recursive: true });
});

/** A process that looks like an agent of the home, and creates a file when it is up. */
async function startAgent(name: string, state: string, code: string): Promise<ChildProcess> {
  const workDir = join(home, state, `att_${name}`, 'work');
  await mkdir(workDir, { recursive: true });
  const up = `require('node:fs').writeFileSync(process.env.CAIRN_WORK_DIR + '/up', '');`;
  const child = spawn(process.execPath, ['-e', `${code};${up} setInterval(() => {}, 1000)`], {
    env: { PATH: process.env.PATH, CAIRN_ATTEMPT_ID: `att_${process.pid}_${name}`, CAIRN_WORK_DIR: workDir },
    stdio: 'ignore',
  });
  children.push(child);
  await expect.poll(() => existsSync(join(workDir, 'up')), { timeout: 10_000 }).toBe(true);
  return child;
}
const endOf = async (child: ChildProcess): Promise<unknown> => {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.signalCode ?? child.exitCode;
};

test('agents are asked first; one that does not end in time is killed with its children; others are left alone', async () => {
  const polite = await startAgent('polite', 'pool', "process.on('SIGTERM', () => process.exit(75))");
  const grandchild = `require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore', detached: true }).unref()`;
  const deaf = await startAgent('deaf', 'tasks', `process.on('SIGTERM', () => {}); ${grandchild}`);
  const unrelated = await startAgent('unrelated', 'pool-of-another', '');
  const states = [join(home, 'pool'), join(home, 'tasks')];
  await stopAgents(states, 500);
  expect(await endOf(polite)).toBe(75);
  expect(await endOf(deaf)).toBe('SIGKILL');
  expect(unrelated.exitCode ?? unrelated.signalCode).toBeNull();
  // Nothing of the home is left, so there is nothing to wait for.
  const began = performance.now();
  await stopAgents(states, 60_000);
  expect(performance.now() - began).toBeLessThan(10_000);
});
