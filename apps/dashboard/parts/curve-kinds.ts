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
