import { createLogger, newId } from '@cairn/runtime';
import { provided, waitFor } from '@cairn/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { consumeAll } from './consume-all.ts';
import { openQueues, type Queues } from './open-queues.ts';

let queues: Queues;
beforeEach(() => {
  const log = createLogger({ name: 'queue', level: 'silent' });
  queues = openQueues({ url: provided('redisUrl'), prefix: newId('run'), log });
});
afterEach(() => queues.close());

test('a process refuses to start without a handler for what it shall consume, before it takes anything', async () => {
  const taken: string[] = [];
  const launch = { concurrency: 1, handler: async ({ attemptId }: { attemptId: string }) => void taken.push(attemptId) };
  expect(() => consumeAll(queues, ['launch', 'tasks', 'finalize'], { launch })).toThrow(
    expect.objectContaining({ code: 'invalid_configuration', message: expect.stringContaining('tasks, finalize') }),
  );
  await queues.add('launch', { attemptId: newId('attempt'), generation: 1 });
  expect(await queues.counts('launch')).toEqual({ waiting: 1, active: 0 });
  expect(taken).toEqual([]);
});

test('each queue goes to its own handler', async () => {
  const taken: string[] = [];
  consumeAll(queues, ['launch', 'finalize'], {
    launch: { concurrency: 1, handler: async () => void taken.push('launch') },
    finalize: { concurrency: 1, handler: async () => void taken.push('finalize') },
  });
  await queues.add('finalize', { stepId: newId('step'), generation: 1 });
  await waitFor(() => taken.length === 1);
  expect(taken).toEqual(['finalize']);
});
