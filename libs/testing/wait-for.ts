import { inspect } from 'node:util';
import { sleep } from '@cairn/runtime';

export type WaitOptions = {
  timeoutMs?: number;
  intervalMs?: number;
  /** What the caller waits for, for the error. */
  message?: string;
  signal?: AbortSignal;
};

/**
 * Calls `condition` until it returns something truthy, and returns that. An error that it throws counts as "not yet".
 * @throws Error with the last value (or the last error as its cause) when the time is up.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 45_000, intervalMs = 20, message = 'the condition', signal }: WaitOptions = {},
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const last = await check(condition);
    if ('value' in last && isTruthy(last.value)) return last.value;
    if (performance.now() >= end) {
      const seen = 'value' in last ? `last seen: ${inspect(last.value, { depth: 4 })}` : `last error: ${inspect(last.cause)}`;
      throw new Error(`waited ${timeoutMs} ms for ${message}; ${seen}`, 'value' in last ? {} : { cause: last.cause });
    }
    await sleep(intervalMs, signal);
  }
}

async function check<T>(condition: () => T | Promise<T>): Promise<{ value: T } | { cause: unknown }> {
  try {
    return { value: await condition() };
  } catch (cause) {
    return { cause };
  }
}

function isTruthy<T>(value: T): value is Exclude<T, false | null | undefined | 0 | ''> {
  return Boolean(value);
}
