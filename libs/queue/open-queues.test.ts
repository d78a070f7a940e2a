import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createLogger, newId } from '@cairn/runtime';
import { waitFor } from '@cairn/testing';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { QueueEntry, QueueName } from './catalogue.ts';
import { backends, type TestServer, type TestStore } from './fixtures/backends.ts';
import { openQueues, type Queues, type QueuesOptions } from './open-queues.ts';

/** The queues' log during a test: shown when it fails. */
const logLines: string[] = [];
const quiet = createLogger({ name: 'queue', level: 'debug', destination: { write: (line) => logLines.push(line) } });
const entry = (generation = 1) => ({ attemptId: newId('attempt'), generation });
const opened: Queues[] = [];
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.error(logLines.join(''));
  logLines.length = 0;
  await Promise.all(opened.splice(0).map((queues) => queues.close(2000)));
});

/** Queues to close after the test. */
function open(options: Pick<QueuesOptions, 'url'> & Partial<QueuesOptions>): Queues {
  const queues = openQueues({ log: quiet, ...options });
  opened.push(queues);
  return queues;
}

/** Queues that no other test uses: a killed server may forget its last operations, such as emptying these. */
function ownPlace({ url }: TestServer): Pick<QueuesOptions, 'url' | 'prefix' | 'schema'> {
  const name = newId('attempt');
  return { url, prefix: name, schema: name };
}

/** Consumes `launch` and records the entries. */
function collect(queues: Queues, options: { concurrency?: number; lockMs?: number; handler?: () => Promise<void> } = {}) {
  const taken: QueueEntry<'launch'>[] = [];
  const consumer = queues.consume('launch', {
    concurrency: options.concurrency ?? 4,
    ...(options.lockMs === undefined ? {} : { lockMs: options.lockMs }),
    async handler(given) {
      taken.push(given);
      await options.handler?.();
    },
  });
  return { taken, consumer };
}

describe.each(backends)('queues on $backend', ({ makeStore, makeServer }) => {
  let store: TestStore;
  /** Runs before and after each test. */
  let server: TestServer;
  beforeAll(async () => {
    [store, server] = await Promise.all([makeStore(), makeServer()]);
  });
  afterAll(() => Promise.all([store.drop(), server.remove()]));
  afterEach(async () => {
    const queues = openQueues({ ...store, log: quiet });
    await queues.empty('launch');
    await queues.close();
  });

  test('an entry reaches the handler and is removed afterwards', async () => {
    const queues = open(store);
    const { taken } = collect(queues);
    const given = entry();
    await queues.add('launch', given);
    await waitFor(() => taken.length === 1);
    expect(taken).toEqual([given]);
    await waitFor(async () => (await queues.counts('launch')).active === 0);
    expect(await queues.counts('launch')).toEqual({ waiting: 0, active: 0 });
  });

  test('an entry is added only once while it waits or is handled, and can be added again after it ended', async () => {
    const queues = open(store);
    const given = entry();
    await queues.add('launch', given);
    await queues.add('launch', given);
    await queues.addBulk('launch', [given, given]);
    expect(await queues.counts('launch')).toEqual({ waiting: 1, active: 0 });

    const gate = Promise.withResolvers<void>();
    const { taken } = collect(queues, { handler: () => gate.promise });
    await waitFor(() => taken.length === 1);
    await queues.add('launch', given);
    expect(await queues.counts('launch')).toEqual({ waiting: 0, active: 1 });
    gate.resolve();
    await waitFor(async () => (await queues.counts('launch')).active === 0);
    expect(taken).toHaveLength(1);

    await queues.add('launch', given);
    await waitFor(() => taken.length === 2);
    await queues.add('launch', { ...given, generation: 2 });
    await waitFor(() => taken.length === 3);
  });

  test('many entries are each handled once by the consumers of two processes, with the requested concurrency', async () => {
    const [first, second] = [open(store), open(store)];
    const entries = Array.from({ length: 1500 }, () => entry());
    await first.addBulk('launch', entries);
    let running = 0;
    let most = 0;
    const handler = async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise(setImmediate);
      running -= 1;
    };
    const consumers = [collect(first, { concurrency: 8, handler }), collect(second, { concurrency: 8 })];
    const all = () => consumers.flatMap(({ taken }) => taken.map(({ attemptId }) => attemptId));
    await waitFor(() => all().length >= entries.length, { message: 'every entry to be handled' });
    expect(all().toSorted()).toEqual(entries.map(({ attemptId }) => attemptId).toSorted());
    expect(consumers.every(({ taken }) => taken.length > 0)).toBe(true);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(8);
  });

  test('an invalid entry is rejected when added, and dropped with a log line when consumed', async () => {
    const lines: string[] = [];
    const queues = open({ ...store, log: createLogger({ name: 'queue', destination: { write: (line) => lines.push(line) } }) });
    await expect(queues.add('launch', { attemptId: 'run_1', generation: 1 })).rejects.toThrow('att_');
    await store.addRaw('launch', { attemptId: 42 });
    const { taken } = collect(queues);
    const given = entry();
    await queues.add('launch', given);
    await waitFor(() => taken.length === 1);
    expect(taken).toEqual([given]);
    expect(lines.join('')).toContain('dropped an invalid queue entry');
    await waitFor(async () => (await queues.counts('launch')).active === 0);
    expect(await queues.counts('launch')).toEqual({ waiting: 0, active: 0 });
  });

  test('an unknown key of a newer release is ignored', async () => {
    const queues = open(store);
    const { taken } = collect(queues);
    const given = entry();
    await store.addRaw('launch', { ...given, priority: 'high' });
    await waitFor(() => taken.length === 1);
    expect(taken).toEqual([given]);
  });

  test('a failing handler ends only its own entry', async () => {
    const queues = open(store);
    let calls = 0;
    const { taken } = collect(queues, {
      handler: async () => {
        calls += 1;
        if (calls === 1) throw new Error('the row is locked');
      },
    });
    const given = entry();
    await queues.add('launch', given);
    await waitFor(async () => calls === 1 && (await queues.counts('launch')).active === 0);
    await queues.add('launch', given);
    await waitFor(() => calls === 2);
    expect(taken).toEqual([given, given]);
  });

  test('a closing consumer aborts its handlers, and their entries go to the next consumer at once', async () => {
    const [first, second] = [open(store), open(store)];
    const started = Promise.withResolvers<AbortSignal>();
    first.consume('launch', {
      concurrency: 1,
      lockMs: 60_000,
      async handler(_, signal) {
        started.resolve(signal);
        await once(signal, 'abort');
        throw signal.reason;
      },
    });
    const given = entry();
    await second.add('launch', given);
    const signal = await started.promise;
    await first.close();
    expect(signal.reason).toEqual(new Error('the consumer is closing'));
    const { taken } = collect(second);
    await waitFor(() => taken.length === 1, { timeoutMs: 2000 });
    expect(taken).toEqual([given]);
  });

  test('the entry of a killed consumer goes to another consumer', async () => {
    const lockMs = 1000;
    const program = new URL('./fixtures/stuck-consumer.ts', import.meta.url).pathname;
    const stuck = spawn(process.execPath, [program, store.url, store.prefix, String(lockMs)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const queues = open(store);
    const given = entry();
    await queues.add('launch', given);
    const [line]: unknown[] = await once(stuck.stdout, 'data');
    expect(String(line).trim()).toBe(given.attemptId);
    stuck.kill('SIGKILL');
    const { taken } = collect(queues, { lockMs });
    await waitFor(() => taken.length === 1, { message: 'the entry to be delivered again' });
    expect(taken).toEqual([given]);
  });

  test('an emptied store keeps working without a restart, and handlers are aborted when their entry is gone', async () => {
    for (const [how, empty] of Object.entries(store.emptied)) {
      const queues = open(store);
      const aborted = Promise.withResolvers<void>();
      const taken: string[] = [];
      queues.consume('launch', {
        concurrency: 4,
        lockMs: 400,
        async handler({ attemptId }, signal) {
          taken.push(attemptId);
          if (taken.length > 1) return;
          await once(signal, 'abort');
          aborted.resolve();
        },
      });
      await queues.add('launch', entry());
      await waitFor(() => taken.length === 1);
      await empty();
      await aborted.promise;
      const after = [entry(), entry()];
      await queues.addBulk('launch', after);
      await waitFor(() => taken.length === 3, { message: `entries to be handled after ${how}` });
      expect(taken.slice(1).toSorted()).toEqual(after.map(({ attemptId }) => attemptId).toSorted());
      await queues.close();
      // A program that starts on the emptied store works too.
      const next = open(store);
      await next.waitUntilReady();
      await next.add('launch', after[0] ?? entry());
      expect(await next.counts('launch')).toMatchObject({ waiting: 1 });
      await next.empty('launch');
    }
  });

  test('a process holds few connections, regardless of its concurrency', async () => {
    const queues = open({ ...store, maxConnections: 4 });
    const gate = Promise.withResolvers<void>();
    let running = 0;
    const consume = (name: 'launch' | 'tasks') =>
      queues.consume(name, {
        concurrency: 16,
        handler: async () => {
          running += 1;
          await gate.promise;
        },
      });
    consume('launch');
    consume('tasks');
    const names: QueueName[] = ['launch', 'tasks'];
    for (const name of ['launch', 'tasks'] as const)
      await queues.addBulk(
        name,
        Array.from({ length: 16 }, () => entry()),
      );
    await waitFor(() => running === 32, { message: 'all to be handled in parallel' });
    expect(await store.connections()).toBeLessThanOrEqual(names.length + 2);
    gate.resolve();
    await waitFor(async () => (await queues.counts('tasks')).active === 0);
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'consumers survive a server that is ended by %s and restarted, with one log line per outage',
    async (signal) => {
      const lines: { msg: string; level: string }[] = [];
      const log = createLogger({ name: 'queue', destination: { write: (line) => lines.push(JSON.parse(line)) } });
      const queues = open({ ...ownPlace(server), log, commandLimitMs: 1000 });
      await queues.waitUntilReady();
      // An entry whose delivery was answered too late becomes free after its lock expired.
      const { taken } = collect(queues, { lockMs: 1000 });
      await queues.add('launch', entry());
      await waitFor(() => taken.length === 1);
      lines.length = 0;

      await server.stop(signal);
      await expect(queues.add('launch', entry())).rejects.toMatchObject({ code: 'unavailable' });
      await expect(queues.ping()).rejects.toMatchObject({ code: 'unavailable' });
      await server.start();
      const given = entry();
      await waitFor(() => queues.add('launch', given).then(() => true), { message: 'the queue to accept entries again' });
      await waitFor(() => taken.some(({ attemptId }) => attemptId === given.attemptId), { message: 'the entry to be handled' });
      await waitFor(() => queues.ping().then(() => lines.some(({ msg }) => msg === 'the queue is responding again')));
      expect(lines.filter(({ msg }) => msg.startsWith('the queue is not responding'))).toHaveLength(1);
      expect(lines.filter(({ msg }) => msg === 'the queue is responding again')).toHaveLength(1);
      expect(lines.filter(({ level }) => level === 'error')).toEqual([]);
    },
  );

  test('a program can start before its server, and can end without it', async () => {
    await server.stop('SIGTERM');
    const early = open({ ...ownPlace(server), commandLimitMs: 1000 });
    const { taken } = collect(early, { lockMs: 1000 });
    await expect(early.waitUntilReady({ limitMs: 50 })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`The queue at ${new URL(server.url).host} is not responding`),
    });
    const ready = early.waitUntilReady();
    await server.start();
    await ready;
    await early.add('launch', entry());
    await waitFor(() => taken.length === 1);

    await server.stop('SIGKILL');
    const start = performance.now();
    await early.close(500);
    expect(performance.now() - start).toBeLessThan(2000);
    await server.start();
  });

  test('a queue has at most one consumer per process', async () => {
    const queues = open(store);
    collect(queues);
    expect(() => collect(queues)).toThrow('the queue launch already has a consumer in this process');
  });
});

test.each(['mysql://host/db', 'localhost:6379', ''])('the URL %j is rejected', (url) => {
  expect(() => openQueues({ url, log: quiet })).toThrow(expect.objectContaining({ code: 'invalid_configuration' }));
});
