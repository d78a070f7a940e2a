import { expect, test, vi } from 'vitest';
import { createGate, createSharedReads, type GateOptions } from './load-limits.ts';

test('callers share a read that is still waiting for its turn, and a caller after it began gets a new read', async () => {
  const reads = createSharedReads(createGate({ name: 'reads', concurrency: 1, waiting: 100, waitMs: 60_000 }));
  let written = 0;
  let done = 0;
  const release = Promise.withResolvers<void>();
  const slow = reads('slow', () => release.promise);
  const read = () =>
    reads('value', async () => {
      done += 1;
      return written;
    });
  const early = [read(), read(), read()];
  written = 1;
  const late = read();
  release.resolve();
  await slow;
  expect(await Promise.all([...early, late])).toEqual([1, 1, 1, 1]);
  expect(done).toBe(1);
  written = 2;
  expect(await read()).toBe(2);
});

test('a failed read fails for all callers that share it, and the next read starts again', async () => {
  const reads = createSharedReads(createGate({ name: 'reads', concurrency: 1, waiting: 100, waitMs: 60_000 }));
  await expect(reads('key', () => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect(await reads('key', async () => 'here')).toBe('here');
});

const gateOf = (options: Partial<GateOptions> = {}) =>
  createGate({ name: 'calls', concurrency: 2, waiting: 2, waitMs: 60_000, ...options });

test('up to the limit run, more wait in order, and the next is refused with a retry time', async () => {
  const onRefusal = vi.fn();
  const gate = gateOf({ onRefusal });
  const [first] = [await gate.enter(), await gate.enter()];
  const entered: string[] = [];
  const enterAs = async (name: string) => {
    const leave = await gate.enter();
    entered.push(name);
    return leave;
  };
  const [third, fourth] = [enterAs('third'), enterAs('fourth')];
  await expect(gate.enter()).rejects.toMatchObject({ code: 'rate_limited', details: { retryAfterSeconds: 1 } });
  expect(onRefusal).toHaveBeenCalledTimes(1);
  expect(gate.load()).toEqual({ inside: 2, waiting: 2 });
  first();
  // Leaving twice does not free a second place.
  first();
  (await third)();
  await fourth;
  expect(entered).toEqual(['third', 'fourth']);
  expect(gate.load()).toEqual({ inside: 2, waiting: 0 });
});

test('a caller that would wait longer than the limit is refused although the queue has space', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
  try {
    const gate = gateOf({ concurrency: 1, waiting: 1_000, waitMs: 1_000 });
    // The mean stay becomes about 450 ms.
    for (let stay = 0; stay < 6; stay += 1) {
      const leave = await gate.enter();
      vi.advanceTimersByTime(1_000);
      leave();
    }
    await gate.enter();
    const waiting = gate.enter();
    await expect(Promise.all([gate.enter(), gate.enter()])).rejects.toMatchObject({ code: 'rate_limited' });
    // An estimate may be wrong: the limit also applies while waiting.
    vi.advanceTimersByTime(1_000);
    await expect(waiting).rejects.toMatchObject({ code: 'rate_limited' });
  } finally {
    vi.useRealTimers();
  }
});

test('while the program is overloaded nobody waits, but a free place is still taken', async () => {
  const gate = gateOf({ concurrency: 1, isBehind: () => true });
  const leave = await gate.enter();
  await expect(gate.enter()).rejects.toMatchObject({ code: 'rate_limited' });
  leave();
  await gate.enter();
});

test('a waiting caller that leaves gives its turn to the next', async () => {
  const gate = gateOf({ concurrency: 1 });
  const leave = await gate.enter();
  const gone = new AbortController();
  const first = gate.enter(gone.signal);
  const second = gate.enter();
  gone.abort(new Error('gone'));
  await expect(first).rejects.toThrow('gone');
  leave();
  await second;
  expect(gate.load()).toEqual({ inside: 1, waiting: 0 });
});
