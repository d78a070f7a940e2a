/** Seconds for which an allowance that was not used is kept: a short burst is no flood. */
const burstSeconds = 2;

/**
 * An allowance for each key: `perSecond` on average, and what two seconds allow at once. For keys that nobody bounds, such as addresses:
 * only the `most` newest are remembered.
 */
export function createRateLimit({
  perSecond,
  most,
  now = () => performance.now(),
}: {
  perSecond: number;
  most: number;
  now?: () => number;
}) {
  /** When the allowance of a key is full again, in milliseconds; in the order of the last call. */
  const fullAt = new Map<string, number>();
  const costMs = 1000 / perSecond;
  const mostDebtMs = burstSeconds * 1000;

  return {
    /** Takes one from the key's allowance. Milliseconds until there is one when there is none now, and then takes nothing; else 0. */
    take(key: string): number {
      if (perSecond === 0) return 0;
      const at = now();
      const owedMs = Math.max(0, (fullAt.get(key) ?? 0) - at);
      const waitMs = owedMs + costMs - Math.max(mostDebtMs, costMs);
      if (waitMs > 0) return waitMs;
      fullAt.delete(key);
      fullAt.set(key, at + owedMs + costMs);
      const [oldest] = fullAt.keys();
      if (fullAt.size > most && oldest !== undefined) fullAt.delete(oldest);
      return 0;
    },
    size: () => fullAt.size,
  };
}
