import type { ReportItem } from '@cairn/contract';

export type MetricsItem = Extract<ReportItem, { type: 'metrics' }>;

/** The maximum number of points of one series in an item. */
export const maxPoints = 1000;

/** Collects the points of all series until they are taken, each series as one item. */
export function metricBuffer() {
  const series = new Map<string, MetricsItem>();

  return {
    /** `time` in seconds since the epoch. True when the series is full and should be taken. A value that is not a number is left out. */
    add(name: string, step: number, value: number, time: number): boolean {
      if (!Number.isFinite(value)) return false;
      let item = series.get(name);
      if (item === undefined) {
        item = { type: 'metrics', name, steps: [], values: [], times: [] };
        series.set(name, item);
      }
      item.steps.push(step);
      item.values.push(value);
      item.times.push(time);
      return item.steps.length >= maxPoints;
    },
    /** Passes every pending series to `push`; those that it refuses are thinned out and kept. */
    drain(push: (item: MetricsItem) => boolean): void {
      for (const item of [...series.values()]) {
        if (push(item)) series.delete(item.name);
        else if (item.steps.length >= maxPoints) thin(item);
      }
    },
  };

  /** Keeps every second point, including the newest: a curve with fewer points is still the curve. */
  function thin(item: MetricsItem): void {
    const last = item.steps.length - 1;
    const isKept = (_: number, index: number) => (last - index) % 2 === 0;
    series.set(item.name, {
      ...item,
      steps: item.steps.filter(isKept),
      values: item.values.filter(isKept),
      times: item.times.filter(isKept),
    });
  }
}
