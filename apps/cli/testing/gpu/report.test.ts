import { recipe as recipeSchema } from '@cairn/contract';
import { estimateStep, expandRecipe, type GpuFigures } from '@cairn/domain';
import { expect, test } from 'vitest';
import { type CheckReport, checkReport, type TrainFigure, toJson } from './check-report.ts';
import { figuresOf } from './gpu-figures.ts';
import { benchmarkSection, withSection } from './report.ts';

const training: TrainFigure = {
  ...{ backbone: 'resnet50', imageSize: 256, batch: 128, precision: 'fp16', channelsLast: true, compile: false, classes: 81_313 },
  ...{ imagesPerSecond: 1800, peakBytes: 11 * 2 ** 30, dataWaitShare: 0.1, planned: { imagesPerSecond: 716, bytes: 9.66 * 2 ** 30 } },
};

function reportOf(trainings: readonly TrainFigure[], lastLines: string[] = []): CheckReport {
  const rival = { backbone: 'resnet50', imageSize: 256, batch: 128, precision: 'fp16', channelsLast: true };
  const rivals = [
    { ...rival, mode: 'plain', imagesPerSecond: 1500 },
    { ...rival, mode: 'random', imagesPerSecond: 2000 },
  ];
  const phase = { outcome: 'done', seconds: 1, failures: [] };
  return checkReport.parse({
    ...{ version: 1, at: '2026-12-01T10:00:00.000Z', commit: 'abc', isDry: false, limitSeconds: 480 },
    phases: [
      {
        ...phase,
        name: 'machine',
        figures: { gpus: [{ name: 'NVIDIA H200', driver: '580.1' }], python: { packages: { torch: '2.11' }, cuda: '13.0' } },
      },
      { ...phase, name: 'train', figures: { trainings, rivals } },
      {
        ...phase,
        name: 'search',
        outcome: 'failed',
        figures: { search: { seconds: 1.234 } },
        failures: [{ message: 'a | b\nc', lastLines }],
      },
    ],
  });
}

test('the figures of a report are rows with ratios to what was measured beside them', () => {
  const section = benchmarkSection(reportOf([training]));
  expect(section).toContain('### NVIDIA H200 (driver 580.1, torch 2.11, CUDA 13.0), 2026-12-01\n');
  // 9.66 GiB planned of 11 + 1 measured.
  expect(section).toContain('| resnet50, 256 px x 128, fp16, channels last | 1800 | 1.20 | 0.90 | 10 % | 11.0 GiB | 2.51, 0.81 |');
  expect(section).toContain('| search | failed | search: seconds 1.23 |');
  expect(section).toContain('- search: a | b c');
});

test('the newest report comes first, below one heading', () => {
  const page = withSection(withSection('# Benchmarks\n\n## Other\n\ntext\n', '### one\n\nfirst\n'), '### two\n\nsecond\n');
  expect(page.match(/## On a GPU/g)).toHaveLength(1);
  expect(page.indexOf('### two')).toBeLessThan(page.indexOf('### one'));
  expect(page.indexOf('text')).toBeLessThan(page.indexOf('## On a GPU'));
});

test('with the constants of a report a plan says what was measured', () => {
  const figures = figuresOf(
    reportOf([training, { ...training, compile: true, imagesPerSecond: 9000 }, { ...training, channelsLast: false, imagesPerSecond: 900 }]),
    'an H200',
  );
  expect(figures.trainings).toHaveLength(2);
  const plan = (channelsLast: boolean) => estimateWith(figures, channelsLast);
  // A tenth of the time was spent waiting, so that the GPU sustained 2,000 images a second: 640 s.
  expect((plan(true)?.gpuHours ?? 0) * 3600).toBeCloseTo(640, -1);
  expect((plan(false)?.gpuHours ?? 0) * 3600).toBeCloseTo(1280, -1);
  expect(plan(true)?.gpuMemoryGib).toBeCloseTo(12, 1);
  expect(plan(true)?.basis).toContain('as measured in training on an H200');
});

/** The estimate of one epoch of 1,280,000 images. */
function estimateWith(figures: GpuFigures, channelsLast: boolean) {
  const recipe = recipeSchema.parse({
    name: 'r50',
    model: { backbone: 'resnet50' },
    stages: {
      one: {
        from: 'init',
        list: 'clean',
        imageSize: 256,
        epochs: 1,
        learningRate: 0.1,
        batch: 128,
        ranks: 1,
        precision: 'fp16',
        channelsLast,
      },
    },
    export: { stage: 'one', imageSize: 256 },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: 'r50' },
  });
  const plan = expandRecipe(recipe);
  const step = plan.find(({ name }) => name === 'one');
  if (step === undefined) throw new Error('the recipe has no stage');
  return estimateStep(step, plan, { clean: { rows: 1_280_000, classes: 81_313 } }, figures);
}

test('a report never takes more than a megabyte, and keeps its figures', () => {
  const noise = Array.from({ length: 500 }, (_, index) => `${index} ${'x'.repeat(10_000)}`);
  const text = toJson({
    ...reportOf([training], noise),
    phases: Array.from({ length: 100 }, () => reportOf([training], noise).phases).flat(),
  });
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_000_000);
  expect(checkReport.parse(JSON.parse(text)).phases[1]?.figures.trainings).toHaveLength(1);
});
