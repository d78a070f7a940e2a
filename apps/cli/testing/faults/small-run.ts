import type { MiniDatasetOptions } from '@cairn/dataset';

/** A collection with everything that the mini dataset has, in a few dozen images. */
export const smallCounts: NonNullable<MiniDatasetOptions['counts']> = {
  cleanLandmarks: 8,
  fullOnlyLandmarks: 2,
  indexOnlyLandmarks: 2,
  twins: 1,
  cleanImages: [5, 6],
  extraImages: [1, 2],
  fullOnlyImages: [2, 3],
  indexImages: [3, 4],
  strays: 6,
  scoredQueries: 10,
  ignoredQueries: 2,
};

/** A checkpoint after every step: each is a place to go on from. */
export const smallSettings: Readonly<Record<string, unknown>> = Object.fromEntries(
  ['384', '384_finetune', '512_finetune', '512_all'].map((stage) => [`stages.${stage}.checkpointEverySteps`, 1]),
);
