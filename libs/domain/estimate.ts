import type { KindAndSettings, ModelSettings, StepEstimate, StepSettings, TrainSettings } from '@cairn/contract';
// Counted by docker/trainer/tests/backbone_costs.py, whose test compares: one image of 256 px.
import costs from './backbone-costs.json' with { type: 'json' };
// Written by `npm run gpu -- report`; empty until a GPU has been measured.
import measured from './gpu-figures.json' with { type: 'json' };
import type { StepPlan } from './graph-steps.ts';

/** The known length of a list; `classes` is null where it has no labels, `source` names the origin when no list was made. */
export type ListCounts = { rows: number; classes: number | null; source?: string };

/**
 * Floating-point operations per second that a GPU is assumed to sustain. In 16 bits: timm's published inference results on an RTX 4090, in
 * fp16 without compilation, for ResNet-101, SE-ResNet-101, ResNeXt-101 and ResNeSt-101 and -269 (33 to 45 x 10^12). In 32 bits: a third of
 * that, an assumption.
 */
const assumedFlops = { fp32: 12e12, fp16: 35e12, bf16: 35e12 } as const;

/** Measurements on a GPU, by network. */
export type GpuFigures = {
  /** Which GPU and when; null when nothing was measured. */
  source: string | null;
  /**
   * By network and {@link figureName}: `flops` per second sustained in training, and `kept`, the ratio of the values kept for the
   * backward pass to the counted ones.
   */
  networks: Readonly<Record<string, Readonly<Record<string, { flops: number; kept: number }>>>>;
};
const gpuFigures: GpuFigures = measured;

/** The key of a measurement: the memory format changes both speed and memory. */
export function figureName(precision: TrainSettings['precision'], isChannelsLast: boolean): string {
  return isChannelsLast ? `${precision}, channels last` : precision;
}

/** The expected error where nothing was measured: GPUs differ, and part of an optimizer step is not convolution. */
const error = 'time may be off by a factor of 2 to 3 depending on the GPU, memory by a third';
const gib = 2 ** 30;
/** CUDA's context and the workspaces of its libraries. */
const cudaBytes = gib;
const costSide = 256;

type Costs = { parameters: number; channels: number; multiplyAdds: number; kept: number; largestMap: number };

/**
 * GPU-hours and the memory of one GPU for a step that runs on GPUs, from the size of its network, its images and its list; null for other
 * steps. docs/operations.md has the formulas.
 */
export function estimateStep(
  step: StepPlan,
  plan: readonly StepPlan[],
  lists: Readonly<Record<string, ListCounts>>,
  figures: GpuFigures = gpuFigures,
): StepEstimate | null {
  if (step.kind === 'train') {
    const { settings } = step;
    return withCounts(settings.list, settings.model.backbone, lists, (counts) =>
      estimateTraining(settings, settings.model, counts, figures),
    );
  }
  if (step.kind !== 'extract') return null;
  const { settings } = step;
  const exported = exportOf(step, plan);
  if (exported === null) return unknown('its model comes from outside the recipe; plans use the measured time after the first run');
  return withCounts(settings.list, exported.model.backbone, lists, (counts, cost) =>
    estimateExtraction(settings, exported, cost, counts, figures),
  );
}

/** The estimate from the cost of the network and the length of the list, where both are known. */
function withCounts(
  list: string,
  backbone: string,
  lists: Readonly<Record<string, ListCounts>>,
  compute: (counts: ListCounts, cost: Costs) => StepEstimate,
): StepEstimate {
  const cost = (costs as Record<string, Costs>)[backbone];
  if (cost === undefined)
    return unknown(`${backbone} is not among the networks whose cost is known; plans use the measured time after the first run`);
  const counts = lists[list];
  if (counts === undefined) return unknown(`the length of the list ${list} is unknown until prepare has run on this dataset`);
  const estimate = compute(counts, cost);
  if (counts.source === undefined) return estimate;
  return {
    ...estimate,
    basis: `${estimate.basis}; the length of ${list} is taken from ${counts.source}, until prepare has run on this dataset`,
  };
}

/** The settings of the export whose model an extraction runs; null when the model comes from outside. */
function exportOf(step: StepPlan, plan: readonly StepPlan[]): StepSettings['export'] | null {
  const source = step.needs.find(({ role }) => role === 'model')?.step;
  const found = plan.find(({ name }) => name === source);
  return found?.kind === 'export' ? found.settings : null;
}

const unknown = (basis: string): StepEstimate => ({ gpuHours: null, gpuMemoryGib: null, basis });

/** The cost of training on one GPU, in parts that can be compared with a measurement. */
type TrainingCost = {
  /** Floating-point operations of one image, forward and backward. */
  flops: number;
  weights: number;
  bytesPerWeight: number;
  /** Values of one image that are kept for the backward pass, and the bytes of one value. */
  kept: number;
  width: number;
  /** Bytes of one image in the loss. */
  logitBytes: number;
};

/** The cost of a stage's images from the counts of its network; null for a network whose cost is not known. */
export function trainingCost(
  { imageSize, precision }: Pick<TrainSettings, 'imageSize' | 'precision'>,
  { backbone, embeddingDim }: Pick<ModelSettings, 'backbone' | 'embeddingDim'>,
  classes: number,
): TrainingCost | null {
  const cost = (costs as Record<string, Costs>)[backbone];
  if (cost === undefined) return null;
  const area = (imageSize / costSide) ** 2;
  const head = cost.channels * embeddingDim + classes * embeddingDim;
  return {
    // A backward pass computes two products for each of the forward pass.
    flops: 3 * 2 * (cost.multiplyAdds * area + head),
    weights: cost.parameters + head,
    // Weight, gradient and momentum in fp32; autocast keeps a copy in 16 bits.
    bytesPerWeight: 12 + (precision === 'fp32' ? 0 : 2),
    kept: cost.kept * area,
    width: precision === 'fp32' ? 4 : 2,
    // The cosines, the logits with the margin and their gradient, in fp32.
    logitBytes: 3 * 4 * classes,
  };
}

function estimateTraining(settings: TrainSettings, model: ModelSettings, { rows, classes }: ListCounts, figures: GpuFigures): StepEstimate {
  const { imageSize, batch, precision } = settings;
  const labels = classes ?? 0;
  const cost = trainingCost(settings, model, labels);
  if (cost === null) return unknown(`the cost of ${model.backbone} is not known`);
  const epochs = settings.lastEpoch ?? settings.epochs;
  const images = imagesPerEpoch(settings, rows, labels);
  const { flops, weights, bytesPerWeight, width } = cost;
  const rate = rateOf(figures, model.backbone, precision, settings.channelsLast);
  const kept = cost.kept * rate.kept;
  const bytes = weights * bytesPerWeight + batch * (kept * width + cost.logitBytes) + cudaBytes;
  return {
    ...rounded((epochs * images * flops) / rate.flops, bytes),
    basis:
      `${epochs} epochs x ${count(images)} images x ${giga(flops)} GFLOP (${model.backbone}, ${imageSize} px, forward and backward) at ${tera(rate.flops, precision)}; ` +
      `memory ${mega(weights)} M weights x ${bytesPerWeight} bytes + ${batch} images x (${mega(kept)} M kept values x ${width} bytes + ${count(labels)} classes x 12 bytes) + 1 GiB; ${rate.trust}`,
  };
}

/** What a GPU sustains: measured with this network, in this memory format or else in the other, or assumed. */
function rateOf({ source, networks }: GpuFigures, backbone: string, precision: TrainSettings['precision'], isChannelsLast: boolean) {
  const network = networks[backbone] ?? {};
  const found = network[figureName(precision, isChannelsLast)] ?? network[figureName(precision, !isChannelsLast)];
  if (source === null || found === undefined) return { flops: assumedFlops[precision], kept: 1, trust: error };
  return { ...found, trust: `as measured in training on ${source}; other GPUs differ` };
}

/**
 * Images that an epoch draws, as in docker/trainer/cairn_trainer/samplers.py: for softmax whole optimizer steps; for the others before they
 * are cut into steps.
 */
function imagesPerEpoch(
  { sampler, partialStep, batch, ranks, effectiveBatch, imagesPerId }: TrainSettings,
  rows: number,
  labels: number,
): number {
  if (sampler === 'id_uniform') return ranks * labels * imagesPerId;
  if (sampler === 'gld') return rows;
  const step = effectiveBatch ?? batch * ranks;
  return step * Math.max(1, partialStep === 'fill' ? Math.ceil(rows / step) : Math.floor(rows / step));
}

function estimateExtraction(
  settings: { batch: number },
  { model, imageSize, precision, scales }: Pick<StepSettings['export'], 'model' | 'imageSize' | 'precision' | 'scales'>,
  cost: Costs,
  { rows }: ListCounts,
  figures: GpuFigures,
): StepEstimate {
  const sides = scales?.map((scale) => Math.floor((imageSize * scale) / 16) * 16) ?? [imageSize];
  const areas = sides.map((side) => (side / costSide) ** 2);
  const flops = areas.reduce((sum, area) => sum + 2 * (cost.multiplyAdds * area + cost.channels * model.embeddingDim), 0);
  const width = precision === 'fp32' ? 4 : 2;
  const map = cost.largestMap * Math.max(...areas);
  // Input, output and scratch of the largest layer are in memory at the same time.
  const rate = rateOf(figures, model.backbone, precision, true);
  const bytes = cost.parameters * width + settings.batch * 3 * map * width + cudaBytes;
  return {
    ...rounded((rows * flops) / rate.flops, bytes),
    basis:
      `${count(rows)} images x ${giga(flops)} GFLOP (${model.backbone}, ${sides.join(' + ')} px, ${precision}) at ${tera(rate.flops, precision)}, if images are read that fast; ` +
      `memory ${mega(cost.parameters)} M weights x ${width} bytes + ${settings.batch} images x 3 x ${mega(map)} M values x ${width} bytes + 1 GiB; ${rate.trust}`,
  };
}

function rounded(seconds: number, bytes: number): Pick<StepEstimate, 'gpuHours' | 'gpuMemoryGib'> {
  return { gpuHours: Number((seconds / 3600).toPrecision(3)), gpuMemoryGib: Number((bytes / gib).toPrecision(3)) };
}

const count = (value: number): string => value.toLocaleString('en-US');
const giga = (value: number): string => (value / 1e9).toPrecision(3);
const mega = (value: number): string => (value / 1e6).toPrecision(3);
const tera = (flops: number, precision: string): string => `${Number((flops / 1e12).toPrecision(3))} TFLOP/s (${precision})`;

const dependence = {
  softmax: 'the images of a step do not depend on the ranks',
  gld: 'each rank draws its own rows, so another number of ranks draws other rows',
  id_uniform: 'each rank goes through all landmarks in its own order',
} as const satisfies Record<TrainSettings['sampler'], string>;

/** How an optimizer step of a stage is split over GPUs, and what changes with their number: batch, learning rate, batch norms, draws. */
export function describeSplit({ batch, ranks, effectiveBatch, learningRate, sampler }: Omit<TrainSettings, 'from'>): string {
  const images = effectiveBatch ?? batch * ranks;
  const parts = images / (batch * ranks);
  const madeOf = `${images} images per step (${ranks} ranks x ${batch}${parts > 1 ? ` x ${parts} batches accumulated` : ''}), learning rate ${learningRate}`;
  return `${madeOf}; both stay the same with other ranks; batch norms see the ${batch} images of one rank; ${dependence[sampler]}`;
}

/** Batches that each loader process of PyTorch prepares ahead. */
const prefetchFactor = 2;
/** A batch is collated while the previous one is copied out. */
const copies = 2;
const channels = 3;

/**
 * Bytes of decoded images that the loader processes of one attempt keep in shared memory; 0 where there are none. Computed when a run is
 * submitted and stored with the step: an executor sizes /dev/shm by it and needs a machine with that much memory.
 */
export function loaderBytes(step: KindAndSettings): number {
  if (step.kind !== 'train') return 0;
  const { ranks, loaderWorkers, batch, imageSize } = step.settings;
  return ranks * loaderWorkers * prefetchFactor * copies * batch * imageSize ** 2 * channels;
}
