import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { waitFor } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { killAttemptProcesses, processesByAttempt } from './attempt-processes.ts';
import { newId } from './ids.ts';
import { identityOf } from './process-record.ts';

function aProcessOf(attemptId: string): ChildProcess {
  const child = spawn('sleep', ['600'], { env: { PATH: process.env.PATH, CAIRN_ATTEMPT_ID: attemptId } });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}
const seen = (attemptId: string) =>
  processesByAttempt()
    .get(attemptId)
    ?.map(({ pid }) => pid) ?? [];

test("all processes of an attempt are killed, and no other attempt's", async () => {
  const [mine, other] = [newId('attempt'), newId('attempt')];
  const children = [aProcessOf(mine), aProcessOf(mine)];
  const unrelated = aProcessOf(other);
  await expect.poll(() => [seen(mine).length, seen(other)]).toEqual([2, [unrelated.pid]]);
  const ends = children.map((child) => once(child, 'exit'));
  expect(await killAttemptProcesses([mine], { limitMs: 5_000 })).toEqual(new Set());
  expect((await Promise.all(ends)).map(([, signal]) => signal)).toEqual(['SIGKILL', 'SIGKILL']);
  expect(seen(other)).toEqual([unrelated.pid]);
});

test("spared processes are not waited for: a container's init stays until the agent has exited", async () => {
  const attemptId = newId('attempt');
  const [init, rank] = [aProcessOf(attemptId), aProcessOf(attemptId)];
  await expect.poll(() => seen(attemptId).length).toBe(2);
  const began = performance.now();
  await killAttemptProcesses([attemptId], { except: [init.pid ?? 0], limitMs: 10_000 });
  expect(performance.now() - began).toBeLessThan(5_000);
  await expect.poll(() => seen(attemptId)).toEqual([init.pid]);
  expect(rank.killed || rank.signalCode === 'SIGKILL' || rank.exitCode !== null).toBe(true);
});

async function parentOf(argument: string) {
  const parent = spawn(process.execPath, [new URL('./fixtures/parent.ts', import.meta.url).pathname, argument]);
  const [output]: unknown[] = await once(parent.stdout, 'data');
  return { parent, pid: Number(String(output)) };
}

test('the process ends when its parent is killed', async () => {
  const { parent, pid } = await parentOf('');
  expect(identityOf(pid)).not.toBeNull();
  parent.kill('SIGKILL');
  await waitFor(() => identityOf(pid) === null, { message: 'the process to end with its parent' });
});

test('a cancelled watcher leaves the process alone', async () => {
  const { parent, pid } = await parentOf('cancel');
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  expect(identityOf(pid)).not.toBeNull();
  process.kill(pid, 'SIGKILL');
});
