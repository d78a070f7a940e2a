import { knownCounts, type Recipe, recipe as recipeSchema, type StageInput, stepSettings } from '@cairn/contract';
import { expect, test } from 'vitest';
import { describeSplit, estimateStep, type GpuFigures, loaderBytes } from './estimate.ts';
import { expandRecipe } from './expand-recipe.ts';
import measured from './gpu-figures.json' with { type: 'json' };

const clean = { rows: 1_580_470, classes: 81_313 };

/** The stage R50_256 of the reference: 8 GPUs x 128 images of 256 px, 10 epochs of the list clean, fp16. */
const stage = {
  ...{ from: 'init', list: 'clean', imageSize: 256, epochs: 10, learningRate: 0.08, batch: 128, ranks: 8, effectiveBatch: 1024 },
  precision: 'fp16',
  partialStep: 'fill',
} as const;

function recipeOf(change: Partial<StageInput> = {}, backbone = 'resnet50'): Recipe {
  return recipeSchema.parse({
    name: 'r50',
    model: { backbone },
    stages: { '256': { ...stage, ...change } },
    export: { stage: '256', imageSize: 512, precision: 'fp16' },
    extract: { index: { list: 'index', batch: 32 }, query: { list: 'query' } },
    register: { model: 'r50' },
  });
}

/** The arithmetic is tested with the assumed figures, regardless of later measurements. */
const nothingMeasured: GpuFigures = { source: null, networks: {} };

function estimate(
  recipe: Recipe,
  name: string,
  lists: Parameters<typeof estimateStep>[2] = { clean, index: { rows: 761_757, classes: null } },
) {
  const plan = expandRecipe(recipe);
  const step = plan.find((one) => one.name === name);
  return step ? estimateStep(step, plan, lists, nothingMeasured) : null;
}

test('training costs three forward passes per image, and keeps weights, maps and logits', () => {
  // Head: 2,048 x 512 + 81,313 x 512 = 42,680,832 weights. A forward pass: 8,106,541,056 + 42,680,832 = 8.149 G multiply-adds.
  // An epoch has 1,544 steps of 1,024 images.
  // 10 x 1,581,056 images x 3 x 2 x 8.149 G / 35 T a second = 22,088 s = 6.14 h.
  // Memory: (23,508,032 + 42,680,832) x 14 + 128 x (32,231,296 x 2 + 81,313 x 12) bytes + 1 GiB = 10,376,494,464 bytes.
  const estimated = estimate(recipeOf(), '256');
  expect(estimated).toMatchObject({ gpuHours: 6.14, gpuMemoryGib: 9.66 });
  expect(estimated?.basis).toBe(
    '10 epochs x 1,581,056 images x 48.9 GFLOP (resnet50, 256 px, forward and backward) at 35 TFLOP/s (fp16); ' +
      'memory 66.2 M weights x 14 bytes + 128 images x (32.2 M kept values x 2 bytes + 81,313 classes x 12 bytes) + 1 GiB; ' +
      'time may be off by a factor of 2 to 3 depending on the GPU, memory by a third',
  );
});

test('twice the side is four times the pixels, an earlier last epoch costs less, and fp32 keeps twice the bytes', () => {
  // 3 x 2 x (8,106,541,056 x 4 + 42,680,832) x 1,581,056 x 10 / 35 T = 87,976 s.
  expect(estimate(recipeOf({ imageSize: 512 }), '256')?.gpuHours).toBe(24.4);
  expect(estimate(recipeOf({ lastEpoch: 5 }), '256')?.gpuHours).toBe(3.07);
  // 66,188,864 x 12 + 128 x (32,231,296 x 4 + 975,756) + 1 GiB = 18,495,423,744 bytes.
  expect(estimate(recipeOf({ precision: 'fp32' }), '256')?.gpuMemoryGib).toBe(17.2);
  // GPU-hours count all GPUs: two do the work of eight, in four times the time.
  expect(estimate(recipeOf({ ranks: 2 }), '256')).toEqual(estimate(recipeOf(), '256'));
});

test('what the reference trained on 32 GB GPUs fits them', () => {
  const largest = recipeOf({ imageSize: 384, batch: 96, effectiveBatch: 768 }, 'se_resnet101_ibn_a');
  const memory = estimate(largest, '256')?.gpuMemoryGib ?? 0;
  expect(memory).toBeGreaterThan(16);
  expect(memory).toBeLessThan(32);
});

test('an extraction at several scales is a forward pass at each', () => {
  const recipe = recipeOf();
  const scaled = { ...recipe, export: recipe.export && { ...recipe.export, scales: [0.7, 1, 1.5] } };
  // Sides of 352, 512 and 768: 2 x (8,106,541,056 x (352^2 + 512^2 + 768^2) / 256^2 + 3 x 2,048 x 512) x 761,757 / 35 T = 5,255 s.
  const estimated = estimate(scaled, 'extract_index');
  expect(estimated?.gpuHours).toBe(1.46);
  expect(estimated?.basis).toContain('(resnet50, 352 + 512 + 768 px, fp16)');
  const mirrored = estimate({ ...scaled, export: scaled.export && { ...scaled.export, flip: true } }, 'extract_index');
  expect(mirrored).toMatchObject({ gpuHours: 2.92, basis: expect.stringContaining('(resnet50, 352 + 512 + 768 px, mirrored too, fp16)') });
});

test('an extraction is one forward pass per image, at the size and precision of the export', () => {
  // 761,757 x 2 x (8,106,541,056 x 4 + 2,048 x 512) / 35 T = 1,411 s; 23,508,032 x 2 + 32 x 3 x 1,048,576 x 4 x 2 + 1 GiB.
  expect(estimate(recipeOf(), 'extract_index')).toMatchObject({ gpuHours: 0.392, gpuMemoryGib: 1.79 });
});

test('an impossible estimate says why, and steps without a GPU have no estimate', () => {
  const timm = estimate(recipeOf({}, 'timm:convnext_base'), '256');
  expect(timm).toMatchObject({ gpuHours: null, gpuMemoryGib: null, basis: expect.stringContaining('timm:convnext_base is not among') });
  expect(estimate(recipeOf(), '256', {})?.basis).toBe('the length of the list clean is unknown until prepare has run on this dataset');
  expect(estimate(recipeOf(), 'search')).toBeNull();
});

test("plans estimate with GLDv2's published counts", () => {
  expect(knownCounts.clean).toMatchObject({ rows: clean.rows, labels: clean.classes });
  const published = { clean: { ...clean, source: knownCounts.clean?.source ?? '' } };
  const basis = estimate(recipeOf(), '256')?.basis;
  expect(estimate(recipeOf(), '256', published)?.basis).toBe(
    `${basis}; the length of clean is taken from table 1 of arXiv 2110.04294, until prepare has run on this dataset`,
  );
});

test('an optimizer step says how it is composed and what another number of GPUs changes', () => {
  const split = (change: Partial<StageInput>) => describeSplit(recipeOf(change).stages['256'] as Recipe['stages'][string]);
  expect(split({})).toBe(
    '1024 images per step (8 ranks x 128), learning rate 0.08; both stay the same with other ranks; batch norms see the 128 images of one rank; ' +
      'the images of a step do not depend on the ranks',
  );
  expect(split({ ranks: 2 })).toContain('1024 images per step (2 ranks x 128 x 4 batches accumulated)');
  expect(split({ sampler: 'gld' })).toContain('another number of ranks draws other rows');
});

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
const stageLoadedBy = (loaderWorkers: number) => ({
  kind: 'train' as const,
  settings: stepSettings.train.parse({ ...settings, loaderWorkers }),
});

test('each loader of a stageLoadedBy keeps two prefetched batches in shared memory, twice', () => {
  expect(loaderBytes(stageLoadedBy(4))).toBe(8 * 4 * 2 * 64 * 2 * 512 * 512 * 3);
});

test('a stageLoadedBy that loads in its ranks keeps nothing there, nor do other steps', () => {
  expect(loaderBytes(stageLoadedBy(0))).toBe(0);
  expect(loaderBytes({ kind: 'search', settings: stepSettings.search.parse({}) })).toBe(0);
});

type Training = {
  backbone: string;
  imageSize: number;
  batch: number;
  precision: 'fp32' | 'fp16' | 'bf16';
  channelsLast: boolean;
  classes: number;
  /** Per second of the time in which the GPU had its images. */
  computeImagesPerSecond: number;
  peakBytes: number;
};
const gib = 2 ** 30;

test('an estimate is within a factor of 1.5 in time and 20 % in memory of the newest measurement, if one exists', () => {
  const rows = 10_000;
  for (const training of measured.trainings as readonly Training[]) {
    const { backbone, imageSize, batch, precision, channelsLast, classes, computeImagesPerSecond, peakBytes } = training;
    const recipe = recipeSchema.parse({
      name: 'measured',
      model: { backbone },
      stages: { one: { from: 'init', list: 'clean', imageSize, epochs: 1, learningRate: 0.001, batch, ranks: 1, precision, channelsLast } },
      export: { stage: 'one', imageSize },
      extract: { index: { list: 'index' }, query: { list: 'query' } },
      register: { model: 'measured' },
    });
    const plan = expandRecipe(recipe);
    const step = plan.find(({ name }) => name === 'one');
    const estimate = step === undefined ? null : estimateStep(step, plan, { clean: { rows, classes } });
    const images = Math.floor(rows / batch) * batch;
    const timeRatio = ((estimate?.gpuHours ?? 0) * 3600) / (images / computeImagesPerSecond);
    // The allocator does not count CUDA's context, for which the estimate has 1 GiB.
    const memoryRatio = ((estimate?.gpuMemoryGib ?? 0) * gib) / (peakBytes + gib);
    const name = `${backbone} at ${imageSize} px in ${precision}, channels last: ${channelsLast}`;
    expect(Math.abs(Math.log(timeRatio)), `${name}: time, ratio ${timeRatio}`).toBeLessThan(Math.log(1.5));
    expect(Math.abs(memoryRatio - 1), `${name}: memory, ratio ${memoryRatio}`).toBeLessThan(0.2);
  }
});
