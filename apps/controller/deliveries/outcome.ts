import type { ClaimedDelivery, DeliveryOutcome } from '@cairn/engine';
import { backoff } from '@cairn/runtime';

/** What came of one try, before it is decided what follows. */
export type Try =
  | { end: 'done'; status: number | null; message: string; remote?: Record<string, unknown>; pauseMs?: number }
  /** The receiver will never take it. */
  | { end: 'refused'; status: number; message: string }
  /** `until`: the receiver asked to wait so long. */
  | { end: 'later'; status: number | null; message: string; until: Date | null };

const pauses = { baseMs: 5_000, maxMs: 3_600_000 };

/** What follows a try: an exponential pause with jitter, and no further tries once the time for them is up. */
export function outcomeOf(
  tried: Try,
  { failures, giveUpAt }: Pick<ClaimedDelivery, 'failures' | 'giveUpAt'>,
  now: Date,
  random: () => number = Math.random,
): DeliveryOutcome {
  const { status, message } = tried;
  const answer = { at: now.toISOString(), status, message };
  if (tried.end === 'done')
    return { end: 'delivered', answer, remote: tried.remote, nextAt: new Date(now.getTime() + (tried.pauseMs ?? 0)) };
  if (tried.end === 'refused') return { end: 'failed', answer };
  const own = now.getTime() + backoff({ attempt: failures, ...pauses, random });
  const at = new Date(Math.max(own, tried.until?.getTime() ?? 0));
  if (at > giveUpAt) return { end: 'failed', answer: { ...answer, message: `${message}; given up after ${failures + 1} tries` } };
  return { end: 'retry', answer, at, pausesTarget: tried.until !== null };
}
