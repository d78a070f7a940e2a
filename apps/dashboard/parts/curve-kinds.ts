import { formatBytes, formatCount, formatMap, formatShare } from './numbers.ts';

export const curveDigits = (value: number): string => String(Number(value.toPrecision(4)));

/** The curves that a training stage reports, in the order shown; `best` is the end of its range that is good. */
export const curveKinds = {
  loss: { title: 'Loss', best: 'least', format: curveDigits },
  accuracy: { title: 'Accuracy of the batch', best: 'most', format: formatShare },
  map_at_100: { title: 'mAP@100', best: 'most', format: formatMap },
  learning_rate: { title: 'Learning rate', best: null, format: curveDigits },
  images_per_second: { title: 'Images per second', best: null, format: (value: number) => formatCount(Math.round(value)) },
  data_wait_share: { title: 'Share of the time spent waiting for data', best: null, format: formatShare },
  gpu_memory_bytes: { title: 'GPU memory', best: null, format: formatBytes },
} as const satisfies Record<string, { title: string; best: 'least' | 'most' | null; format: (value: number) => string }>;

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
