import { recipe as recipeSchema } from '@cairn/contract';
import { expect, test } from 'vitest';
import { estimateStep } from './estimate.ts';
import { expandRecipe } from './expand-recipe.ts';
import measured from './gpu-figures.json' with { type: 'json' };

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
