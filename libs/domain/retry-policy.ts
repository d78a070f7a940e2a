import { type AttemptCause, attemptCause } from '@cairn/contract';

/** How often a step is tried again after an attempt ended for a cause, and how long it waits before. */
export type RetryBudget = { retries: number; baseMs: number; maxMs: number };

/**
 * One budget a cause. A person's mistake and bad data are not mended by trying again; a preemption is nobody's fault and
 * costs nothing; what the infrastructure did is tried again a few times.
 */
export const retryBudgets = {
  user: { retries: 0, baseMs: 0, maxMs: 0 },
  data: { retries: 0, baseMs: 0, maxMs: 0 },
  deadline: { retries: 0, baseMs: 0, maxMs: 0 },
  infrastructure: { retries: 5, baseMs: 250, maxMs: 60_000 },
  gpu: { retries: 3, baseMs: 1_000, maxMs: 60_000 },
  preemption: { retries: Number.POSITIVE_INFINITY, baseMs: 250, maxMs: 30_000 },
} as const satisfies Record<AttemptCause, RetryBudget>;

/** Attempts of a step that ended badly, by cause. */
export type FailureCounts = Partial<Record<AttemptCause, number>>;

/** The cause whose budget the step's failures exceed, or null while it may be tried again. */
export function exhaustedCause(failures: FailureCounts): AttemptCause | null {
  for (const cause of attemptCause.options) if ((failures[cause] ?? 0) > retryBudgets[cause].retries) return cause;
  return null;
}

/** Milliseconds before the next attempt after the `nth` failure (from 1) of a cause; doubles each time up to a limit. */
export function retryDelayMs(cause: AttemptCause, nth: number): number {
  const { baseMs, maxMs } = retryBudgets[cause];
  return Math.min(maxMs, baseMs * 2 ** Math.min(nth - 1, 20));
}
