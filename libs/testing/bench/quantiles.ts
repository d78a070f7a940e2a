/** The q-quantile (0 to 1) by nearest rank; NaN without values. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN;
}

/** A quantile of milliseconds for a table; a dash without values. */
export const show = (values: readonly number[], q: number): string => (values.length === 0 ? '-' : `${quantile(values, q).toFixed(1)} ms`);

/** p50, p95 and p99 in milliseconds, for a table. */
export function spread(values: readonly number[]): { p50: string; p95: string; p99: string; n: number } {
  return { p50: show(values, 0.5), p95: show(values, 0.95), p99: show(values, 0.99), n: values.length };
}
