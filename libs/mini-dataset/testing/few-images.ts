import type { MiniCounts } from '../plan.ts';

/** The counts of a collection of a few dozen images: the smallest that has everything that lists are about, except for what `change` says. */
export const fewImages = (change: Partial<MiniCounts> = {}): MiniCounts => ({
  cleanLandmarks: 3,
  fullOnlyLandmarks: 1,
  indexOnlyLandmarks: 1,
  twins: 0,
  cleanImages: [2, 2],
  extraImages: [1, 1],
  fullOnlyImages: [2, 2],
  indexImages: [2, 2],
  strays: 1,
  scoredQueries: 2,
  ignoredQueries: 1,
  ...change,
});
