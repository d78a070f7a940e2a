import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { recipe as recipeSchema } from '@cairn/contract';
import { estimateStep, expandRecipe } from '@cairn/domain';
import { benchStage, drawnLabels, stepRate, toldEvents } from '@cairn/testing/bench/trainer-run';
import type { RivalFigure, TrainFigure } from '../check-report.ts';
import { type PhaseContext, pythonRun } from '../phase.ts';
import { runWell } from '../run-bounded.ts';

const rival = join(import.meta.dirname, '../../../../../libs/testing/bench/plain_training.py');
const loaderWorkers = 14;

type Setting = { backbone: string; imageSize: number; batch: number };
type Variant = Pick<TrainFigure, 'precision' | 'channelsLast' | 'compile'>;

/** Six backbones as the reference trains them in its first stage: the side of its images and the batch of one GPU. */
const referenceStages = [
  { backbone: 'resnet50', imageSize: 256, batch: 128 },
  { backbone: 'se_resnet101_ibn_a', imageSize: 384, batch: 96 },
  { backbone: 'resnext101_ibn_a', imageSize: 384, batch: 40 },
  { backbone: 'resnest101', imageSize: 384, batch: 36 },
  { backbone: 'resnest269', imageSize: 448, batch: 28 },
  // No pipeline of the reference has it; as its sibling with squeeze and excitation.
  { backbone: 'resnet101_ibn_a', imageSize: 384, batch: 96 },
] as const;

/** Landmarks of the list clean. */
const referenceClasses = 81_313;

type Sizes = {
  stages: readonly Setting[];
  compiled: Setting;
  classes: number;
  steps: number;
  warmup: number;
  files: number;
  workers: number;
};
const full: Sizes = {
  stages: referenceStages,
  compiled: referenceStages[0],
  classes: referenceClasses,
  steps: 40,
  warmup: 10,
  files: 240,
  workers: loaderWorkers,
};
const toy: Sizes = {
  ...{ stages: [{ backbone: 'resnet18', imageSize: 32, batch: 4 }], compiled: { backbone: 'resnet18', imageSize: 32, batch: 4 } },
  ...{ classes: drawnLabels, steps: 4, warmup: 1, files: 16, workers: 0 },
};

const fastest: Variant = { precision: 'fp16', channelsLast: true, compile: false };

/**
 * Images a second, memory and the share of time that waits for data of the real trainer, started as an agent starts it, for each
 * backbone; beside it a plain loop, the model alone on tensors, and what the plan says. What is worth most comes first, since the
 * time may not suffice for all.
 */
export async function train(context: PhaseContext): Promise<void> {
  const sizes = context.isDry ? toy : full;
  const { stages, compiled, steps, files } = sizes;
  const rows = [...new Set(stages.map(({ batch }) => String(steps * batch)))];
  await runWell(
    pythonRun(context, rival, ['make', context.folder, '--count', String(files), '--rows', ...rows], { what: 'drawing JPEG files' }),
  );
  context.say(`drew ${files} JPEG files`);
  const ours = async (setting: Setting, variant: Variant) => {
    const figure = await context.attempt(nameOf(setting, variant), () => trainOnce(context, sizes, setting, variant));
    if (figure === null) return;
    context.record('trainings', [figure]);
    const share = `${Math.round(100 * figure.dataWaitShare)} % of the time waiting for data`;
    context.say(
      `${nameOf(setting, variant)}: ${figure.imagesPerSecond.toFixed(1)} images/s, ${(figure.peakBytes / 2 ** 30).toFixed(2)} GiB, ${share}`,
    );
  };
  const theirs = async (setting: Setting, mode: RivalFigure['mode']) => {
    const figure = await context.attempt(`${setting.backbone}, ${mode}`, () => rivalOnce(context, sizes, setting, mode));
    if (figure === null) return;
    context.record('rivals', [figure]);
    context.say(`${setting.backbone}, ${mode === 'plain' ? 'plain loop' : 'model alone'}: ${figure.imagesPerSecond.toFixed(1)} images/s`);
  };
  const others = (variant: Pick<Variant, 'precision' | 'channelsLast'>) => ({ ...variant, compile: false });
  for (const setting of stages) await ours(setting, fastest);
  for (const setting of stages) await theirs(setting, 'random');
  // The memory format that recipes have unless they say otherwise.
  for (const setting of stages) await ours(setting, others({ precision: 'fp16', channelsLast: false }));
  for (const setting of stages) await theirs(setting, 'plain');
  // torch compiles for CPUs with a compiler of C++, which a machine need not have.
  if (!context.isDry) await ours(compiled, { ...fastest, compile: true });
  for (const channelsLast of [true, false]) {
    for (const setting of stages) await ours(setting, others({ precision: 'bf16', channelsLast }));
  }
}

function nameOf({ backbone, imageSize, batch }: Setting, { precision, channelsLast, compile }: Variant): string {
  return `${backbone} at ${imageSize} px, batches of ${batch}, ${precision}${channelsLast ? ', channels last' : ''}${compile ? ', compiled' : ''}`;
}

let counter = 0;

async function trainOnce(context: PhaseContext, sizes: Sizes, setting: Setting, variant: Variant): Promise<TrainFigure> {
  const { classes, steps, warmup, workers } = sizes;
  const { backbone, imageSize, batch } = setting;
  const { precision, channelsLast, compile } = variant;
  counter += 1;
  const folder = join(context.folder, `stage-${counter}`);
  await mkdir(folder);
  const config = benchStage({
    ...{ work: context.folder, folder, backbone, rows: steps * batch, classes },
    settings: { imageSize, batch, precision, channelsLast, compile, loaderWorkers: workers, logEverySteps: warmup },
  });
  const path = join(folder, 'stage.json');
  await writeFile(path, JSON.stringify(config));
  await runWell(pythonRun(context, 'cairn_trainer.launch', launchArguments(path), { what: 'the trainer' }));
  const events = await toldEvents(config);
  const told = events.filter((event) => event.event === 'step').slice(1);
  const plan = planned(setting, precision, classes, steps * batch);
  return {
    ...{ ...setting, ...variant, classes, planned: plan },
    imagesPerSecond: stepRate(events, batch),
    peakBytes: Math.max(...told.map((event) => event.gpuMemoryBytes)),
    dataWaitShare: told.reduce((sum, event) => sum + event.dataWaitShare, 0) / told.length,
  };
}

/** The arguments by which an agent starts one rank. */
export function launchArguments(configPath: string): string[] {
  return ['--standalone', '--nproc-per-node', '1', '--max-restarts', '0', '-m', 'cairn_trainer', '--config', configPath];
}

async function rivalOnce(
  context: PhaseContext,
  sizes: Sizes,
  { backbone, imageSize, batch }: Setting,
  mode: RivalFigure['mode'],
): Promise<RivalFigure> {
  const { classes, steps, warmup, workers } = sizes;
  const numbers = { size: imageSize, pad: Math.round(imageSize / 25), batch, workers, threads: 1, steps, warmup, classes };
  const flags = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const args = [mode, context.folder, '--backbone', backbone, '--precision', fastest.precision, '--channels-last', ...flags];
  const out = await runWell(pythonRun(context, rival, args, { what: `the ${mode} loop` }));
  return { backbone, imageSize, batch, precision: fastest.precision, channelsLast: true, mode, imagesPerSecond: Number(out) };
}

/** What `cairn plan` says of one epoch over so many images on one GPU. */
function planned(setting: Setting, precision: Variant['precision'], classes: number, rows: number): TrainFigure['planned'] {
  const { backbone, imageSize, batch } = setting;
  const recipe = recipeSchema.parse({
    name: 'gpu-check',
    model: { backbone },
    stages: { one: { from: 'init', list: 'clean', imageSize, epochs: 1, learningRate: 0.001, batch, ranks: 1, precision } },
    export: { stage: 'one', imageSize },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: 'gpu-check' },
  });
  const plan = expandRecipe(recipe);
  const step = plan.find(({ name }) => name === 'one');
  const estimate = step === undefined ? null : estimateStep(step, plan, { clean: { rows, classes } });
  if (estimate === null || estimate.gpuHours === null || estimate.gpuMemoryGib === null) return null;
  return { imagesPerSecond: rows / (estimate.gpuHours * 3600), bytes: estimate.gpuMemoryGib * 2 ** 30 };
}
