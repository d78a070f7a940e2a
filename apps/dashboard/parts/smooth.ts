/**
 * An exponential moving average without the bias towards zero at its start (Kingma and Ba 2014, section 3). `weight` is 0 for none, and
 * below 1. Values that are not numbers are passed on and not averaged.
 */
export function smooth(values: readonly (number | null)[], weight: number): (number | null)[] {
  if (weight === 0) return [...values];
  let mean = 0;
  let share = 1;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    mean = weight * mean + (1 - weight) * value;
    share *= weight;
    return mean / (1 - share);
  });
}
