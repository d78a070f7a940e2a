import { stepSettings } from '@cairn/contract';
import { expect, test } from 'vitest';
import { loaderOf } from './loader-memory.ts';

const stage = { from: 'init', list: 'clean', imageSize: 512, epochs: 1, learningRate: 0.1, batch: 32, ranks: 8 };
const settings = (loaderWorkers: number) => stepSettings.train.parse({ ...stage, loaderWorkers, model: { backbone: 'resnet18' } });

test('a training step whose loaders run beside its ranks keeps batches of decoded images in shared memory', () => {
  const loader = { ranks: 8, workers: 4, batch: 32, bytesPerImage: 512 * 512 * 3 };
  expect(loaderOf({ kind: 'train', settings: settings(4) })).toEqual({ loader });
});

test('one that loads in the ranks themselves keeps none there, nor does another step', () => {
  expect(loaderOf({ kind: 'train', settings: settings(0) })).toEqual({});
  expect(loaderOf({ kind: 'extract', settings: {} })).toEqual({});
});
