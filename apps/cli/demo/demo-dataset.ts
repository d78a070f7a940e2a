import { join } from 'node:path';
import type { MiniDatasetOptions } from '@cairn/dataset';
import type { DemoOptions } from './demo-options.ts';

/** Everything that the mini dataset has (wrong labels, twins, strays, broken files), in a few dozen images. */
export const tinyCounts: NonNullable<MiniDatasetOptions['counts']> = {
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

/** The collection that the demo makes and registers: its name, its folder, how much it holds. */
export function demoDataset({ home, recipe, seed }: Pick<DemoOptions, 'home' | 'recipe' | 'seed'>) {
  return {
    name: recipe,
    out: join(home, 'datasets', seed === 0 ? recipe : `${recipe}-${seed}`),
    seed,
    counts: recipe === 'tiny' ? tinyCounts : undefined,
  };
}
