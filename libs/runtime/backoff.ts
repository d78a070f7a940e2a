export type BackoffOptions = {
  /** How many tries have failed so far; 0 gives the first wait. */
  attempt: number;
  baseMs: number;
  maxMs: number;
  /** Uniform in [0, 1): the jitter. */
  random?: () => number;
};

/**
 * The wait before the next try, in milliseconds: doubles from `baseMs` up to `maxMs`, the upper half of it random, so
 * that many clients of one server that restarts do not come back in step ("equal jitter").
 */
export function backoff({ attempt, baseMs, maxMs, random = Math.random }: BackoffOptions): number {
  const full = Math.min(maxMs, baseMs * 2 ** Math.max(0, attempt));
  return Math.round(full / 2 + random() * (full / 2));
}
