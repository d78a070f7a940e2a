import { stepSettings } from '@cairn/contract';
import { expect, test } from 'vitest';
import { loaderBytes } from './loader-bytes.ts';

const settings = {
  from: 'init',
  list: 'clean',
  imageSize: 512,
  epochs: 1,
  learningRate: 0.1,
  batch: 64,
  ranks: 8,
  model: { backbone: 'resnet18' },
};
const stage = (loaderWorkers: number) => ({
  kind: 'train' as const,
  settings: stepSettings.train.parse({ ...settings, loaderWorkers }),
});

test('each loader of a stage keeps two prefetched batches in shared memory, twice', () => {
  expect(loaderBytes(stage(4))).toBe(8 * 4 * 2 * 64 * 2 * 512 * 512 * 3);
});

test('a stage that loads in its ranks keeps nothing there, nor do other steps', () => {
  expect(loaderBytes(stage(0))).toBe(0);
  expect(loaderBytes({ kind: 'search', settings: stepSettings.search.parse({}) })).toBe(0);
});
