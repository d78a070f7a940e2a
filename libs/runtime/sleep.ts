import { setTimeout as delay } from 'node:timers/promises';

/** Waits `ms` milliseconds. Rejects with the signal's reason as soon as it is aborted. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    // Node wraps the reason in an AbortError of its own; callers want to see why they were stopped.
    throw signal?.aborted ? signal.reason : error;
  }
}

/** Waits `ms` milliseconds, or until the signal is aborted; for loops that then look at it themselves. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
