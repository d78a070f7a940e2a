import type { Hint } from '@cairn/contract';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { createHintCoalescer, type EventFeed } from './feed.ts';
import { eventStream, type StreamOptions } from './stream.ts';

const { harness, prisma } = await openTestApi();
const heartbeatMs = 15_000;

let variant = 0;
/** A run with `count` events. */
async function runWith(count: number): Promise<string> {
  variant += 1;
  const runId = await harness.submit({ set: { 'prepare.testSeed': variant } });
  await prisma.$executeRaw`delete from event where run_id = ${runId}`;
  await prisma.$executeRaw`
    insert into event (run_id, seq, type, message) select ${runId}, n, 'note', 'line' from generate_series(1, ${count}::int) n`;
  return runId;
}

const quiet: EventFeed = { subscribe: () => () => undefined, watchStep: () => expect.fail('unexpected watchStep'), close: () => undefined };
const stop = new AbortController();

function open(runIds: readonly string[], over: Partial<StreamOptions> = {}) {
  const options: StreamOptions = {
    prisma,
    feed: quiet,
    reads: (_key, read) => read(),
    topics: new Set(runIds.map((runId) => `run:${runId}`)),
    positions: new Map(),
    resets: [],
    heartbeatMs,
    runsPosition: async () => 'here',
    isAllowed: async () => true,
    onStall: () => undefined,
    signal: stop.signal,
    ...over,
  };
  return eventStream(options);
}

/** The runs of the messages in a chunk, and how many in a row. */
const countsOf = (piece: string): [string, number] => {
  const ids = [...piece.matchAll(/"runId":"(run_\w+)"/g)].map(([, runId = '']) => runId);
  expect(new Set(ids).size).toBe(1);
  return [ids[0] ?? '', ids.length];
};

describe('a stream', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('runs with long histories take turns, one page each', async () => {
    const [one, two] = [await runWith(150), await runWith(250)];
    const stream = open([one, two]);
    expect((await stream.next()).value).toContain('retry:');
    const pages: [string, number][] = [];
    for (let page = 0; page < 5; page += 1) pages.push(countsOf((await stream.next()).value ?? ''));
    expect(pages).toEqual([
      [one, 100],
      [two, 100],
      [one, 50],
      [two, 100],
      [two, 50],
    ]);
    await stream.return();
  });

  test('a slow server disconnects nobody; a client that reads nothing is disconnected', async () => {
    const runId = await runWith(1);
    const onStall = vi.fn();
    const slow = Promise.withResolvers<void>();
    const stream = open([runId], {
      onStall,
      reads: async (_key, read) => {
        await slow.promise;
        return read();
      },
    });
    await stream.next();
    const event = stream.next();
    await vi.advanceTimersByTimeAsync(10 * heartbeatMs);
    expect(onStall).not.toHaveBeenCalled();
    slow.resolve();
    expect((await event).value).toContain('"message":"line"');
    // Offered, but the next one is never requested.
    await vi.advanceTimersByTimeAsync(heartbeatMs);
    expect(onStall).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(heartbeatMs);
    expect(onStall).toHaveBeenCalledTimes(1);
    await stream.return();
  });
});

describe('hints', () => {
  beforeEach(() => void vi.useFakeTimers());

  afterEach(() => void vi.useRealTimers());

  function coalesce() {
    const emitted: Hint[] = [];
    const coalescer = createHintCoalescer(1_000, (hint) => emitted.push(hint));
    return { emitted, ...coalescer };
  }

  const progress = (stepId: string): Hint => ({ topic: 'run:a', runId: 'a', stepId, what: 'progress' });

  test('the first hint is sent at once, later ones within the second as one at its end', () => {
    const { emitted, push } = coalesce();
    push(progress('1'));
    expect(emitted).toHaveLength(1);
    for (let n = 0; n < 50; n += 1) push(progress('1'));
    vi.advanceTimersByTime(999);
    expect(emitted).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(emitted).toHaveLength(2);
    vi.advanceTimersByTime(5_000);
    expect(emitted).toHaveLength(2);
  });

  test('a stream of hints is sent once a second', () => {
    const { emitted, push } = coalesce();
    for (let ms = 0; ms < 10_000; ms += 100) {
      push(progress('1'));
      vi.advanceTimersByTime(100);
    }
    expect(emitted.length).toBeGreaterThanOrEqual(10);
    expect(emitted.length).toBeLessThanOrEqual(11);
  });

  test('steps and kinds do not wait for each other', () => {
    const { emitted, push } = coalesce();
    for (const hint of [progress('1'), progress('2'), { ...progress('1'), what: 'logs' as const }]) push(hint);
    expect(emitted).toHaveLength(3);
  });

  test('hints about several runs are merged into one without a run', () => {
    const { emitted, push } = coalesce();
    const run = (runId: string): Hint => ({ topic: 'runs', runId, what: 'run' });
    for (const id of ['a', 'b', 'b']) push(run(id));
    for (const id of ['c', 'd']) push(run(id));
    vi.advanceTimersByTime(1_000);
    expect(emitted).toEqual([run('a'), { topic: 'runs', what: 'run' }]);
  });
});
