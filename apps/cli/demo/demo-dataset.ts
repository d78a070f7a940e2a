import { join } from 'node:path';
import { tinyCounts } from '@cairn/mini-dataset';
import type { DemoOptions } from './demo-options.ts';

/** The collection that the demo makes and registers: its name, its folder and its size. Only `tiny` has its own. */
export function demoDataset({ home, recipe, seed }: Pick<DemoOptions, 'home' | 'recipe' | 'seed'>) {
  const name = recipe === 'tiny' ? 'tiny' : 'mini';
  return {
    name,
    out: join(home, 'datasets', seed === 0 ? name : `${name}-${seed}`),
    seed,
    counts: name === 'tiny' ? tinyCounts : undefined,
  };
}
