import type { MiniDatasetOptions } from '@cairn/mini-dataset';

/** A collection of a few dozen images: the smallest that has everything that lists are about. */
export const fewImages = {
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
} as const satisfies MiniDatasetOptions['counts'];
