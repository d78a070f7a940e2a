import { expect, test } from 'vitest';
import { seededRandom } from './samples.ts';
import { waitFor } from './wait-for.ts';

test('it returns the first truthy value', async () => {
  const answers = [undefined, 0, 'ready'];
  expect(await waitFor(() => answers.shift(), { intervalMs: 1 })).toBe('ready');
});

test('an error of the condition counts as "not yet"', async () => {
  let calls = 0;
  const value = await waitFor(
    () => {
      calls += 1;
      if (calls < 3) throw new Error('connection refused');
      return calls;
    },
    { intervalMs: 1 },
  );
  expect(value).toBe(3);
});

test('when the time is up it says what it waited for and the last value', async () => {
  const waiting = waitFor(() => false, { timeoutMs: 5, intervalMs: 1, message: 'the run to end' });
  await expect(waiting).rejects.toThrow('waited 5 ms for the run to end; last seen: false');
  const failing = waitFor(
    () => {
      throw new Error('connection refused');
    },
    { timeoutMs: 5, intervalMs: 1 },
  );
  await expect(failing).rejects.toThrow('connection refused');
});

test('it ends with the signal', async () => {
  const waiting = waitFor(() => false, { signal: AbortSignal.timeout(5), timeoutMs: 60_000 });
  await expect(waiting).rejects.toMatchObject({ name: 'TimeoutError' });
});

test('a seed gives the numbers of mulberry32, so that a printed seed reproduces a sample', () => {
  const next = seededRandom(1);
  // From the algorithm's public C source with the seed 1.
  expect([next(), next(), next()].map((number) => number * 2 ** 32)).toEqual([2_693_262_067, 11_749_833, 2_265_367_787]);
  expect(seededRandom(2)()).not.toBe(seededRandom(1)());
});
