import { processesByAttempt } from '@cairn/runtime';
import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { openAttempt } from '../testing/open-attempt.ts';
import { specOf } from '../testing/specs.ts';
import { ChildEndedError, startChild } from './start-child.ts';

vi.setConfig({ testTimeout: 30_000 });

const shard = { kind: 'extractShard' as const, index: 0, from: 0, count: 1, sets: [0], isOneByOne: false, rejects: [] };

async function open(hangSeconds: number) {
  const { context } = await openAttempt(specOf('extract', { hangSeconds }));
  const child = startChild(context);
  return { child, pid: () => processesByAttempt().get(context.spec.attempt.id)?.[0]?.pid };
}

test("a child's error arrives with its code", async () => {
  const { child } = await open(60);
  await expect(child.ask(shard, z.unknown())).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringMatching(/before model and list/),
  });
  await child.kill();
});

test('a child that neither answers nor reports progress is killed', async () => {
  const { child, pid } = await open(1);
  await expect.poll(pid).toBeDefined();
  process.kill(pid() ?? 0, 'SIGSTOP');
  const error = await child.ask(shard, z.unknown()).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ChildEndedError);
  expect(error).toHaveProperty('message', expect.stringMatching(/made no progress for 1 s/));
  await child.kill();
  expect(pid()).toBeUndefined();
});

test('a child that is gone says how it ended', async () => {
  const { child } = await open(60);
  await child.kill();
  await expect(child.ask(shard, z.unknown())).rejects.toThrow(/was killed by SIGKILL/);
});
