import type { BackboneName, RecipeInput, StageInput } from '@cairn/contract';

/**
 * The pipelines of the 2nd place solution of Google Landmark Retrieval 2021, equal to its configs/GLDv2 to the number
 * (github.com/WesleyZhang1991/Google_Landmark_Retrieval_2021_2nd_Place_Solution, commit 684278e; paper arXiv 2110.04294).
 *
 * Its chains, though not its paths: each stage starts from what the stage before it wrote. Where the reference goes on from an
 * epoch in the middle of the stage before, that stage ends there (`lastEpoch`), on the learning rate planned for all its epochs.
 */
type Pipeline = { name: string; backbone: BackboneName; weights: string; stages: Record<string, Stage> };
/** What the table of the reference says of a stage; `batch` is per GPU. */
type Stage = Pick<StageInput, 'imageSize' | 'pad' | 'epochs' | 'learningRate' | 'batch' | 'weightDecay'> & Partial<StageInput>;

const ranks = 8;

/** What all configurations have in common; momentum, flip, erasing, bias factor and ArcFace's .3 and 30 are the schema's defaults. */
const common = { ranks, precision: 'fp16', preprocessing: 'reference', loaderWorkers: 32, checkpointEveryEpochs: 2 } as const;

/** The reference trains the last step of an epoch, which is partial, and its schedule counts it: 1,544 steps in R50_256. With gld it drops it. */
const softmax = { sampler: 'softmax', partialStep: 'fill' } as const;
const clean = { ...softmax, list: 'clean', epochs: 10, learningRate: 0.08, warmupEpochs: 1 } as const;
const c2x = { ...softmax, list: 'c2x', epochs: 6, learningRate: 0.008 } as const;
const full = { ...softmax, list: 'full', learningRate: 0.0008 } as const;
const all = { list: 'all', sampler: 'gld', learningRate: 0.0008 } as const;
const at384 = { imageSize: 384, pad: 15, weightDecay: 5e-4 } as const;
const at448 = { imageSize: 448, pad: 18, weightDecay: 5e-4 } as const;
const at512 = { imageSize: 512, pad: 20, weightDecay: 1e-5 } as const;
const noMargin = { margin: 0, scale: 60, weightDecay: 5e-4, checkpointEveryEpochs: 1 } as const;

const r50 = { imageSize: 256, pad: 10, batch: 128, weightDecay: 5e-4 } as const;
const r50Weights = { backbone: 'resnet50', weights: 'resnet50-19c8e357' } as const;

const fast: Pipeline = { name: 'fast', ...r50Weights, stages: { '256': { ...r50, ...clean } } };

/** The reference starts its second stage from an epoch 6 that no stage writes (its own path, of 2 epochs); here from the first's end. */
const R50: Pipeline = {
  name: 'R50',
  ...r50Weights,
  stages: { '256': { ...r50, ...clean }, '256_finetune': { ...r50, ...all, from: '256', epochs: 2, learningRate: 0.008 } },
};

const SER101ibn: Pipeline = {
  name: 'SER101ibn',
  backbone: 'se_resnet101_ibn_a',
  weights: 'se_resnet101_ibn_a-fabed4e2',
  stages: {
    '384': { ...at384, ...clean, batch: 96 },
    '384_finetune': { ...at384, ...c2x, from: '384', batch: 96 },
    '512_finetune': { ...at512, ...full, from: '384_finetune', batch: 18, epochs: 4, lastEpoch: 2 },
    '512_all': { ...at512, ...all, from: '512_finetune', batch: 18, epochs: 4 },
  },
};

const RXt101ibn: Pipeline = {
  name: 'RXt101ibn',
  backbone: 'resnext101_ibn_a',
  weights: 'resnext101_ibn_a-6ace051d',
  stages: {
    '384': { ...at384, ...clean, batch: 40 },
    '384_finetune': { ...at384, ...c2x, from: '384', batch: 40, lastEpoch: 2 },
    '512_finetune': { ...at512, ...full, from: '384_finetune', batch: 18, epochs: 4, lastEpoch: 2 },
    '512_all': { ...at512, ...all, from: '512_finetune', batch: 18, epochs: 4 },
  },
};

const ResNeSt101: Pipeline = {
  name: 'ResNeSt101',
  backbone: 'resnest101',
  weights: 'resnest101-22405ba7',
  stages: {
    '384': { ...at384, ...clean, batch: 36 },
    '384_finetune': { ...at384, ...c2x, from: '384', batch: 88 },
    '512_finetune': { ...at512, ...full, from: '384_finetune', batch: 40, epochs: 2 },
    '512_all': { ...at512, ...all, from: '512_finetune', batch: 40, epochs: 2 },
  },
};

const ResNeSt269: Pipeline = {
  name: 'ResNeSt269',
  backbone: 'resnest269',
  weights: 'resnest269-0cc87c48',
  stages: {
    '448': { ...at448, ...clean, batch: 28 },
    '448_finetune': { ...at448, ...c2x, from: '448', batch: 28, lastEpoch: 4 },
    '512_finetune': { ...at512, ...full, ...noMargin, from: '448_finetune', batch: 6, epochs: 2 },
    '512_all': { ...at512, ...all, ...noMargin, from: '512_finetune', batch: 6, epochs: 2 },
  },
};

/**
 * As the paper has it where it differs from the code: 10, 6, 2 and 2 epochs, each stage from the end of the one before, weight
 * decay 5e-4 and ArcFace with .3 and 30 throughout. Its learning rates (.01, .001, .0001, .0001) are those of one of eight GPUs,
 * and so the code's.
 */
function asInThePaper({ name, stages, ...pipeline }: Pipeline): Pipeline {
  const epochs = [10, 6, 2, 2];
  const changed = Object.entries(stages).map(([stage, { lastEpoch: _, ...settings }], index): [string, Stage] => [
    stage,
    { ...settings, epochs: epochs[index] ?? settings.epochs, weightDecay: 5e-4, margin: 0.3, scale: 30 },
  ]);
  return { name: `${name}-paper`, ...pipeline, stages: Object.fromEntries(changed) };
}

function recipeOf({ name, backbone, weights, stages }: Pipeline): RecipeInput {
  const names = Object.keys(stages);
  const last = names.at(-1) ?? '';
  const settings = names.map((stage): [string, StageInput] => {
    const own = stages[stage] as StageInput;
    const start = own.from === undefined ? { from: 'init', weights } : {};
    return [stage, { ...common, ...start, ...own, effectiveBatch: own.batch * ranks }];
  });
  const lists = [...new Set(settings.map(([, stage]) => stage.list))];
  return {
    name,
    description: describe(name, backbone, names),
    dataset: 'gldv2',
    model: { backbone },
    prepare: { lists: [...lists, 'query', 'index'] },
    stages: Object.fromEntries(settings),
    export: { stage: last, imageSize: stages[last]?.imageSize ?? 512, preprocessing: 'reference' },
    extract: { index: { list: 'index', shards: 64, workers: 8 }, query: { list: 'query', shards: 2, workers: 2 } },
    register: { model: name },
  };
}

function describe(name: string, backbone: string, stages: readonly string[]): string {
  const source = name.endsWith('-paper') ? 'as its paper has it' : 'as its code has it';
  return `${backbone} in the stage${stages.length === 1 ? '' : 's'} ${stages.join(', ')} of the 2nd place solution of Google Landmark Retrieval 2021, ${source}; for 8 GPUs.`;
}

const pipelines = [SER101ibn, RXt101ibn, ResNeSt101, ResNeSt269];

/**
 * The reference's configurations by the name of their file without `.yml`: the recipe and the stage that each is here. R50_256 is a stage of two
 * recipes; `fast` is it alone.
 */
export const referenceConfigurations: ReadonlyMap<string, { recipe: string; stage: string }> = new Map(
  [R50, { ...fast, prefix: 'R50' }, ...pipelines].flatMap((pipeline) => {
    const prefix = 'prefix' in pipeline ? pipeline.prefix : pipeline.name;
    return Object.keys(pipeline.stages).map((stage) => [`${prefix}_${stage}`, { recipe: pipeline.name, stage }] as const);
  }),
);

/**
 * The final submission (52.995 private mAP@100): its four models with the category rerank before their similarities are added. K1, K2, the
 * votes, alpha and beta are the defaults. What the models' own recipes made is reused.
 */
function submissionOf(parts: readonly Pipeline[]): RecipeInput {
  const recipes = parts.map(recipeOf);
  const lists = [...new Set(recipes.flatMap(({ prepare }) => prepare?.lists ?? [])), references.list];
  return {
    name: 'submission',
    description:
      'The final submission of the 2nd place solution of Google Landmark Retrieval 2021: four models searched together; for 8 GPUs.',
    dataset: 'gldv2',
    prepare: { lists },
    models: Object.fromEntries(
      recipes.map(({ name, model, stages, export: exported, extract }) => [
        name,
        { model, stages, export: exported, extract: { ...extract, references: { ...references } } },
      ]),
    ),
    ensemble: {
      weights: Object.fromEntries(parts.map(({ name }) => [name, 1])),
      rerank: { mode: 'before_merge' },
      references: references.list,
      tags: { shards: 16, workers: 8 },
      voting: { shards: 8, workers: 8 },
    },
    register: { model: 'submission' },
  };
}

/** The list of its notebook; it is six times as long as the index. */
const references = { list: 'index_train', shards: 400, workers: 8 } as const;

/** The reference's pipelines, and its paper's, as recipes, and its submission. */
export const referenceRecipes: readonly RecipeInput[] = [
  ...[fast, R50, ...pipelines, ...pipelines.map(asInThePaper)].map(recipeOf),
  submissionOf(pipelines),
];
