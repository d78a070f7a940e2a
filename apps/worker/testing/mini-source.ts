import { join } from 'node:path';
import type { ImageSource } from '@cairn/contract';
import { makeMiniDataset } from '@cairn/mini-dataset';

const counts = {
  cleanLandmarks: 3,
  fullOnlyLandmarks: 0,
  indexOnlyLandmarks: 0,
  twins: 0,
  cleanImages: [4, 4],
  extraImages: [0, 0],
  fullOnlyImages: [0, 0],
  indexImages: [2, 2],
  strays: 2,
  scoredQueries: 3,
  ignoredQueries: 1,
} as const;

/** A collection of 12 training, 8 index and a few query images of three landmarks, made in `folder`. */
export async function miniSource(folder: string): Promise<ImageSource> {
  const { layout } = await makeMiniDataset({ out: folder, seed: 1, counts });
  return {
    kind: 'folder',
    root: join(folder, layout.images),
    metadata: join(folder, layout.metadata),
    countries: join(folder, layout.countries),
  };
}
