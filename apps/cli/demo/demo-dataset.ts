import { join } from 'node:path';
import { tinyCounts } from '@cairn/dataset';
import type { DemoOptions } from './demo-options.ts';

/** The collection that the demo makes and registers: its name, its folder, how much it holds. */
export function demoDataset({ home, recipe, seed }: Pick<DemoOptions, 'home' | 'recipe' | 'seed'>) {
  return {
    name: recipe,
    out: join(home, 'datasets', seed === 0 ? recipe : `${recipe}-${seed}`),
    seed,
    counts: recipe === 'tiny' ? tinyCounts : undefined,
  };
}
