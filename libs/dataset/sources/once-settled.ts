import { sleep } from '@cairn/runtime';

/** Servers tell the times of files in seconds. */
const secondMs = 1000;
/** The clocks of a server and of this machine differ by less. */
const clocksMs = 60 * 60_000;

/**
 * Runs `check`, which must find files of a source unchanged, once no other version of them can get the same time. Within the second in which
 * a file was written, one of the same size may replace it, which only its ETag shows; the lists have sizes and times alone. Files that
 * changed long ago are not checked.
 *
 * @param newestMs when the newest of the files changed
 * @param seenAt when that was seen, by `performance.now()`
 */
export async function onceSettled(
  { newestMs, seenAt }: { newestMs: number; seenAt: number },
  check: () => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  if (newestMs < Date.now() - clocksMs) return;
  await sleep(Math.max(0, seenAt + secondMs - performance.now()), signal);
  await check();
}
