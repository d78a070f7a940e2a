import { QueryClient, QueryObserver } from '@tanstack/react-query';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { keys } from './query-keys.ts';
import { createRefresh } from './refresh.ts';

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('window', globalThis);
  vi.stubGlobal('document', { hidden: false });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const reset = (position: string) => ({
  type: 'message' as const,
  message: { type: 'reset' as const, id: null, topic: 'runs', position },
});
const hint = { type: 'message' as const, message: { type: 'hint' as const, hint: { topic: 'runs', what: 'run' as const } } };

test('a list of runs is read again when the stream is ahead of it, and for every hint, but not when the stream opens at its position', async () => {
  const queries = new QueryClient();
  let position = 'a';
  const read = vi.fn(async () => ({ position }));
  new QueryObserver(queries, { queryKey: [...keys.runs, 'all'], queryFn: read, staleTime: 60_000 }).subscribe(() => undefined);
  const refresh = createRefresh(queries);
  const after = async (...messages: Parameters<typeof refresh>[0][]): Promise<number> => {
    read.mockClear();
    for (const message of messages) refresh(message);
    await vi.advanceTimersByTimeAsync(2_500);
    return read.mock.calls.length;
  };
  await vi.advanceTimersByTimeAsync(0);
  expect(await after(reset('a'))).toBe(0);
  position = 'b';
  expect(await after(reset('b'))).toBe(1);
  expect(await after(reset('b'))).toBe(0);
  expect(await after(hint)).toBe(1);
  // The first is answered at once, the second waits: the reset after it does not take it back.
  expect(await after(hint, hint, reset('b'))).toBe(2);
});
