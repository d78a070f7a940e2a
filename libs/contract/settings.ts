import { z } from 'zod';
import { safeName } from './names.ts';
import { rerankSettings } from './rerank-settings.ts';
import { markOf, operational, result } from './setting-marks.ts';
import { unwrapped } from './setting-path.ts';

export { markOf, type SettingMark, settingMark } from './setting-marks.ts';

export const listName = z.enum(['clean', 'c2x', 'full', 'index_train', 'test', 'all', 'query', 'index', 'index_expand']);
export type ListName = z.infer<typeof listName>;

/** The trainer's own backbones; they turn a 256 px image into a 16 x 16 map. */
export const backboneName = z.enum([
  'resnet18',
  'resnet10_w32',
  'resnet50',
  'resnet101_ibn_a',
  'se_resnet101_ibn_a',
  'resnext101_ibn_a',
  'resnest101',
  'resnest269',
]);
export type BackboneName = z.infer<typeof backboneName>;

/** A backbone of the trainer, or any timm network by name: `timm:convnext_base`. */
export const backbone = z.union([
  backboneName,
  z
    .string()
    .regex(/^timm:[A-Za-z0-9_.-]{1,100}$/, `use ${backboneName.options.join(', ')}, or timm: followed by the name of a timm network`),
]);

/** The network, which is the same in every stage of a run. */
export const modelSettings = z.strictObject({
  backbone: result(backbone, 'The backbone: one of the trainer, or `timm:NAME` for any timm network.'),
  embeddingDim: result(z.number().int().min(8).max(4096).default(512), 'Length of the feature vector.'),
  gemPower: result(z.number().min(1).max(10).default(3), 'The exponent p of generalised-mean pooling, frozen.'),
  initSeed: result(z.number().int().min(0).default(0), 'Seed of the untrained weights.'),
});
export type ModelSettings = z.infer<typeof modelSettings>;

/**
 * How an image becomes the network's input. `reference-filled` is `reference`, except that truncated JPEGs are read as OpenCV reads them,
 * with grey for the missing part; the others skip such images.
 */
export const preprocessing = z.enum(['cairn', 'reference', 'reference-filled']);
export type Preprocessing = z.infer<typeof preprocessing>;

/** Whether to load all tensors of published weights or, as the reference does, all except the squeeze-excitations. */
export const weightsExtent = z.enum(['all', 'upstream']);

/** One training stage. Batch is per rank; the effective batch is `batch x ranks`, or `effectiveBatch` where that is set. */
export const trainSettings = z.strictObject({
  // What a stage starts from is part of its memo key by digest, not by name.
  from: operational(z.union([z.literal('init'), safeName]), 'The stage whose last checkpoint this one starts from, or `init`.'),
  weights: operational(
    safeName.nullable().default(null),
    'The imported weights that a stage from `init` starts with: published ImageNet weights, or a whole model, from which it continues as from a previous stage. null: untrained weights.',
  ),
  weightsExtent: result(
    weightsExtent.default('all'),
    'all: every tensor of published weights; upstream: as the reference does, which leaves the squeeze-excitations untrained.',
  ),
  list: result(listName, 'The list of images.'),
  sampler: result(
    z.enum(['softmax', 'gld', 'id_uniform']).default('softmax'),
    'softmax: shuffled; gld: continent-aware draws with replacement; id_uniform: the same number of images of each landmark.',
  ),
  partialStep: result(
    z.enum(['drop', 'fill']).default('drop'),
    'What the sampler softmax does with the images left at the end of an epoch that do not fill a step. drop: skip them, different ones in each epoch; fill: repeat images of the epoch to fill the step.',
  ),
  imagesPerId: result(z.number().int().min(1).max(64).default(4), 'Images of one landmark in a batch of the sampler id_uniform.'),
  imageSize: result(z.number().int().min(32).max(1024), 'Side of the square input in pixels.'),
  pad: result(z.number().int().min(0).max(64).default(0), 'Black border in pixels before the random crop.'),
  epochs: result(z.number().int().min(1).max(200), 'Passes over the list.'),
  lastEpoch: result(
    z.number().int().min(1).max(200).nullable().default(null),
    'Epoch after which the stage ends, if earlier than the last epoch of its learning rate schedule.',
  ),
  learningRate: result(z.number().positive().max(10), 'Base learning rate at the effective batch; biases get `biasLrFactor` times it.'),
  biasLrFactor: result(
    z.number().positive().max(10).default(2),
    'Factor of the learning rate for tensors whose name contains `bias`; warm-up starts and decay ends at the same rate as for all others.',
  ),
  momentum: result(z.number().min(0).max(1).default(0.9), 'SGD momentum.'),
  weightDecay: result(z.number().min(0).max(1).default(5e-4), 'L2 weight decay.'),
  warmupEpochs: result(z.number().min(0).max(50).default(0), 'Linear warm-up from 0.01 x the base rate.'),
  batch: result(z.number().int().min(2).max(4096), 'Images per rank in one forward pass.'),
  ranks: result(z.number().int().min(1).max(64), 'Processes that train together, one per GPU.'),
  effectiveBatch: result(
    z.number().int().min(2).max(262_144).nullable().default(null),
    'Images per optimizer step, a multiple of `batch x ranks`: gradients of several batches are accumulated. null: batch x ranks.',
  ),
  margin: result(z.number().min(0).max(1).default(0.3), 'ArcFace margin in radians.'),
  scale: result(z.number().positive().max(256).default(30), 'ArcFace scale.'),
  flip: result(z.number().min(0).max(1).default(0.5), 'Probability of a horizontal flip.'),
  erasing: result(z.number().min(0).max(1).default(1), 'Probability of random erasing.'),
  seed: result(z.number().int().min(0).default(0), 'Seed of sampling and augmentation.'),
  preprocessing: result(
    preprocessing.default('cairn'),
    'How images are resized, and whether truncated JPEGs are filled with grey, as OpenCV does, or skipped.',
  ),
  precision: result(
    z.enum(['fp32', 'fp16', 'bf16']).default('fp32'),
    'Precision of the network; weights, loss, pooling and neck stay in fp32. fp16 scales the loss.',
  ),
  maxBadImageShare: result(z.number().min(0).max(1).default(0.05), 'The stage fails above this share of unreadable images.'),
  evaluate: operational(
    z.enum(['none', 'end', 'start_and_end', 'every_epoch']).default('none'),
    'When the stage scores mAP@100 on the query and index lists.',
  ),
  channelsLast: operational(z.boolean().default(false), 'Use the channels-last memory format for images and maps: faster on most GPUs.'),
  compile: operational(
    z.boolean().default(false),
    'Compile the network with torch.compile: takes minutes at the start, makes steps faster.',
  ),
  deterministic: operational(z.boolean().default(true), 'Use only deterministic algorithms; false lets cuDNN choose the fastest.'),
  loaderWorkers: operational(z.number().int().min(0).max(128).default(0), 'Loader processes per rank; 0 loads in the rank itself.'),
  threadsPerRank: operational(z.number().int().min(0).max(128).default(0), 'CPU threads of a rank; 0 divides the cores evenly.'),
  checkpointEveryEpochs: operational(
    z.number().int().min(1).max(1_000_000).default(1),
    'Epochs between checkpoints that can be resumed from.',
  ),
  checkpointEverySteps: operational(
    z.number().int().min(0).max(1_000_000).default(0),
    'Optimizer steps between checkpoints; 0 means only by epochs and minutes.',
  ),
  checkpointEveryMinutes: operational(
    z.number().min(0).max(1_000_000).default(10),
    'Minutes between checkpoints; 0 means only by epochs and steps.',
  ),
  logEverySteps: operational(z.number().int().min(1).max(1_000_000).default(10), 'Optimizer steps between metric points.'),
});
export type TrainSettings = z.infer<typeof trainSettings>;

/**
 * How a quoted cell of the category files is read. `reference`: as the 2nd place solution does, which removes only the closing quote and
 * leaves inner quotes doubled. `csv`: as in RFC 4180.
 */
export const categoryQuotes = z.enum(['reference', 'csv']);
export type CategoryQuotes = z.infer<typeof categoryQuotes>;

export const prepareSettings = z.strictObject({
  lists: result(
    z.array(listName).min(1).max(listName.options.length).default(['clean', 'c2x', 'full', 'all', 'query', 'index']),
    'The lists to make.',
  ),
  testSeed: result(z.number().int().min(0).default(0), 'Seed of the sample in the list `test`.'),
  categoryQuotes: result(
    categoryQuotes.default('reference'),
    'How quoted categories are read: `reference` leaves their inner quotes doubled, `csv` follows RFC 4180.',
  ),
});

export const exportSettings = z.strictObject({
  imageSize: result(z.number().int().min(32).max(1024), 'Side of the square input in pixels.'),
  preprocessing: result(preprocessing.default('cairn'), 'Recorded in the exported model; extraction uses it.'),
  precision: result(
    z.enum(['fp32', 'fp16']).default('fp32'),
    'Precision of the exported backbone; pooling, neck and features stay in fp32. fp16 halves the file and is faster on GPUs.',
  ),
  scales: result(
    z.array(z.number().min(0.5).max(2)).min(1).max(8).optional(),
    'Sizes at which the graph computes the feature of each image, as factors of imageSize, rounded down to multiples of 16; it returns their mean, at length one. The reference has [0.707, 1, 1.414] (MULTI_SCALE_FEAT). Absent: imageSize alone.',
  ),
  checkImages: operational(z.number().int().min(1).max(1024).default(16), 'Number of real images to compare with PyTorch.'),
  minCosine: operational(
    z.number().min(0).max(1).nullable().default(null),
    'The minimum cosine between ONNX Runtime and PyTorch; null: 0.9999 with fp32, 0.999 with fp16.',
  ),
});
export type ExportSettings = z.infer<typeof exportSettings>;

export const extractSettings = z.strictObject({
  list: result(listName, 'The list to extract.'),
  shards: operational(
    z.number().int().min(1).max(100_000).default(8),
    'Pieces of the list; each is leased, committed and retried on its own.',
  ),
  workers: operational(z.number().int().min(1).max(512).default(2), 'Most parallel attempts.'),
  batch: operational(z.number().int().min(1).max(1024).default(32), 'Images per call of ONNX Runtime; the last batch is padded.'),
  threads: operational(z.number().int().min(1).max(128).default(1), 'CPU threads of ONNX Runtime in a worker.'),
  maxBadImageShare: result(z.number().min(0).max(1).default(0.05), 'The step fails above this share of unreadable images.'),
});
export type ExtractSettings = z.infer<typeof extractSettings>;

export const searchSettings = z.strictObject({
  topK: result(z.number().int().min(1).max(10_000).default(100), 'Neighbours per query.'),
  blockRows: operational(z.number().int().min(1).max(1_000_000).default(50_000), 'Index rows per matrix product.'),
});

/** How a fleet searches an index. */
export const scanFleetSettings = z.strictObject({
  shards: operational(
    z.number().int().min(1).max(10_000).default(8),
    'Pieces of the index, each searched for all queries, leased, committed and retried on its own.',
  ),
  workers: operational(z.number().int().min(1).max(512).default(8), 'Most parallel attempts.'),
  threads: operational(z.number().int().min(0).max(128).default(0), 'CPU threads of ONNX Runtime in a worker; 0: one per core.'),
  blockRows: operational(z.number().int().min(1).max(1_000_000).default(50_000), 'Index rows per matrix product, which bounds the memory.'),
});

/** The nearest images of each query in each shard of an index. */
export const scanSettings = z.strictObject({
  topK: result(z.number().int().min(1).max(10_000).default(100), 'Candidates of each query and shard.'),
  ...scanFleetSettings.shape,
});

/** Lists whose images each stand once with a landmark. */
export const referenceList = listName.extract(['clean', 'c2x', 'full', 'index_train', 'index', 'index_expand', 'test']);

/** How a fleet finds the nearest reference of each image. */
export const tagFleetSettings = z.strictObject({
  shards: operational(
    z.number().int().min(1).max(100_000).default(64),
    'Pieces of the index; each is leased, committed and retried on its own, and reads all references.',
  ),
  workers: operational(z.number().int().min(1).max(512).default(8), 'Most parallel attempts.'),
  threads: operational(z.number().int().min(0).max(128).default(0), 'CPU threads of ONNX Runtime in a worker; 0: one per core.'),
  blockRows: operational(z.number().int().min(1).max(1_000_000).default(50_000), 'References per matrix product, which bounds the memory.'),
});

/** The nearest reference of each image of a feature set. */
export const tagSettings = z.strictObject({
  references: result(referenceList.default('index_train'), 'The list of the references; the first of equally near ones counts.'),
  ...tagFleetSettings.shape,
});

export const mostWeight = 1000;
/** The weight of each model in a sum of similarities, by its name. */
export const modelWeights = z.record(safeName, z.number().positive().max(mostWeight));

/** A search of several models together. Its inputs have the names of the models: `query.NAME`, `index.NAME`, `references.NAME`. */
export const ensembleSearchSettings = z.strictObject({
  weights: result(
    modelWeights.refine((weights) => Object.keys(weights).length > 0, 'name at least one model'),
    'The models by name, each with its weight in the sum of similarities.',
  ),
  rerank: rerankSettings.prefault({}).describe('How similarities are changed before the images are ranked.'),
  references: result(referenceList.default('index_train'), 'The list of the references that vote, with their landmarks and countries.'),
  queryList: result(listName.optional(), 'With local matching: the list of the queries, whose images are read (default: query).'),
  indexList: result(listName.optional(), 'With local matching: the list of the index, whose images are read (default: index).'),
  topK: result(z.number().int().min(1).max(10_000).default(100), 'Neighbours per query.'),
  blockRows: operational(z.number().int().min(1).max(10_000_000).default(50_000), 'Rows per matrix product, which bounds the memory.'),
});

export const evaluateSettings = z.strictObject({
  atK: result(z.number().int().min(1).max(1000).default(100), 'Cut-off of mAP@k.'),
});

export const registerSettings = z.strictObject({
  model: result(safeName, 'Name of the registered model; each registration creates a new version.'),
});

/** Settings by kind of step, as stored in a step row and sent in an attempt's spec. */
export const stepSettings = {
  prepare: prepareSettings,
  train: z.strictObject({ ...trainSettings.shape, model: modelSettings }),
  export: z.strictObject({ ...exportSettings.shape, model: modelSettings }),
  extract: extractSettings,
  scan: scanSettings,
  search: searchSettings,
  tag: tagSettings,
  rerank: ensembleSearchSettings,
  evaluate: evaluateSettings,
  register: z.strictObject({
    ...registerSettings.shape,
    models: result(
      z.array(safeName).min(1).max(64).optional(),
      'Of an ensemble: the names of its models, which its inputs have too (`model.NAME`, `index.NAME`).',
    ),
  }),
} as const;
export type StepSettings = { [K in keyof typeof stepSettings]: z.infer<(typeof stepSettings)[K]> };

/** A kind of step with its settings, as in rows and specs. */
export const kindAndSettings = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('prepare'), settings: stepSettings.prepare }),
  z.object({ kind: z.literal('train'), settings: stepSettings.train }),
  z.object({ kind: z.literal('export'), settings: stepSettings.export }),
  z.object({ kind: z.literal('extract'), settings: stepSettings.extract }),
  z.object({ kind: z.literal('scan'), settings: stepSettings.scan }),
  z.object({ kind: z.literal('search'), settings: stepSettings.search }),
  z.object({ kind: z.literal('tag'), settings: stepSettings.tag }),
  z.object({ kind: z.literal('rerank'), settings: stepSettings.rerank }),
  z.object({ kind: z.literal('evaluate'), settings: stepSettings.evaluate }),
  z.object({ kind: z.literal('register'), settings: stepSettings.register }),
]);
export type KindAndSettings = z.infer<typeof kindAndSettings>;

/** The settings of a step that affect its result. */
export function resultSettings({ kind, settings }: KindAndSettings): Record<string, unknown> {
  return resultFields(stepSettings[kind], settings);
}

/** The fields that are marked as results, and of a group of fields those in it that are. */
function resultFields(schema: z.ZodObject, settings: object): Record<string, unknown> {
  const fields = Object.entries(settings).flatMap(([name, value]: [string, unknown]): [string, unknown][] => {
    const field = schema.shape[name];
    if (!(field instanceof z.ZodType)) return [];
    const group = unwrapped(field);
    if (markOf(field) === null && group instanceof z.ZodObject && typeof value === 'object' && value !== null)
      return [[name, resultFields(group, value)]];
    return markOf(field) === 'result' ? [[name, value]] : [];
  });
  return Object.fromEntries(fields);
}

/** Rows and labels of a list; labels are null where no source states them. */
export type KnownCount = { rows: number; labels: number | null; source: string };

const table1 = 'table 1 of arXiv 2110.04294';

/** The known counts of GLDv2's lists. */
export const knownCounts: Partial<Record<ListName, KnownCount>> = {
  clean: { rows: 1_580_470, labels: 81_313, source: table1 },
  c2x: { rows: 3_223_078, labels: 81_313, source: table1 },
  full: { rows: 4_132_914, labels: 203_094, source: table1 },
  all: { rows: 4_825_830, labels: 203_094, source: table1 },
  query: { rows: 1_129, labels: null, source: 'the scored queries of retrieval_solution_v2.1.csv' },
  index: { rows: 761_757, labels: null, source: 'the README of GLDv2' },
  index_expand: {
    rows: 78_959,
    labels: null,
    source: 'the 76,176 index images of the competition of 2021 and the ground truths they lack',
  },
};
