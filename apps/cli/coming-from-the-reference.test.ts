import { readFileSync } from 'node:fs';
import { exportSettings, recipe } from '@cairn/contract';
import { loadRecipes } from '@cairn/engine';
import { expect, test } from 'vitest';
import { z } from 'zod';

/**
 * The names that users of the 2nd place solution know (its repository at 684278e): the scripts they run and the launcher's options, the keys of config/defaults.py, and
 * the settings of submission/code/landmark_retrieval.py.
 */
const referenceScripts = [
  'config/defaults.py',
  'configs/GLDv2/GLDv2_base.yml',
  'datasets/',
  'experiments/train.sh',
  'loss/',
  'model/',
  'processor/processor.py',
  'solver/',
  'submission/code/base_landmark.py',
  'submission/code/convert_online_offline.py',
  'submission/code/expand_official_index.py',
  'submission/code/landmark_retrieval.py',
  'submission/eval/eval_cbir.py',
  'submission/input/util-code/backbones',
  'submission/input/util-code/local_matching',
  'submission/input/util-code/make_model.py',
  'tools/generate_gld_list.py',
  'utils/metrics.py',
  'utils/reranking.py',
  '--master_port',
  '--max_restarts 0',
  'eval_retrieval.sh',
  'kaggle.ipynb',
];

const keysBySection = {
  MODEL:
    'NUM_CLASSES DEVICE DEVICE_ID NAME LAST_STRIDE PRETRAIN_PATH PRETRAIN_CHOICE NECK IF_WITH_CENTER NECK_DIM NECK_BIAS ID_LOSS_TYPE ID_LOSS_WEIGHT TRIPLET_LOSS_WEIGHT VERIFICATION_LOSS_WEIGHT GEM CNN_DROPOUT METRIC_LOSS_TYPE DIST_TRAIN NO_MARGIN IF_LABELSMOOTH COS_LAYER FROZEN',
  INPUT:
    'SIZE_TRAIN SIZE_TEST PROB RE_PROB PIXEL_MEAN PIXEL_STD PADDING COLOR_PROB AUGMIX_PROB RANDOM_PATCH_PROB RANDOM_AFFINE_PROB PERSPECTIVE_PROB DET_AUG_PROB',
  DATASETS: 'NAMES ROOT_DIR ROOT_TRAIN_DIR ROOT_VAL_DIR',
  DATALOADER: 'CACHE_LIST NUM_WORKERS SAMPLER NUM_INSTANCE REMOVE_TAIL',
  SOLVER:
    'OPTIMIZER_NAME MAX_EPOCHS BASE_LR LARGE_FC_LR BIAS_LR_FACTOR SEED MOMENTUM MARGIN CENTER_LR CENTER_LOSS_WEIGHT WEIGHT_DECAY WEIGHT_DECAY_BIAS GAMMA STEPS WARMUP_FACTOR WARMUP_EPOCHS WARMUP_METHOD COSINE_MARGIN COSINE_SCALE CHECKPOINT_PERIOD LOG_PERIOD EVAL_PERIOD IMS_PER_BATCH FP16_ENABLED',
  UDA: 'PSOLABEL_PERIOD CLUSTER_EPS CLUSTER_MIN_SAMPLES',
  TEST: 'IMS_PER_BATCH RE_RANKING WEIGHT NECK_FEAT FEAT_NORM DIST_MAT EVAL INFERENCE_ONLY CBIR_METRIC',
};

const referenceKeys = [
  'BASE',
  'OUTPUT_DIR',
  ...Object.entries(keysBySection).flatMap(([section, keys]) => keys.split(' ').map((key) => `${section}.${key}`)),
];

const referenceSettings =
  'IMAGE_DIR RAW_IMAGE_DIR OUTPUT_TEMP_DIR OUTPUT_DIR MODEL_DIR META_DIR PROBE_DIR INDEX_DIR FEAT_DIR SIMS_DIR SAMPLE_TEST_NUM REID_EXTRACT_FLAG FP16 DEBUG_FLAG MULTI_SCALE_FEAT MODEL_LIST MODEL_WEIGHT IMAGE_SIZE BATCH_SIZE MODEL_PARAMS KR_FLAG K1 K2 INITIAL_RANK_FILE NAME_LIST_FILE EUC_DIST_DIR GRAPH_DIST_DIR QE_DIST_DIR JACCARD_DIR LAMBDA CATEGORY_RERANK VOTE_NUM REF_SET_EXTRACT REF_ALL_LIST REF_SET_LIST REF_SET_META REF_SET_FEAT REF_LOC_MAP CATEGORY_THR alpha beta LOCAL_MATCHING SPG_MODEL_DIR SPG_CACHE_DIR SPG_RERANK_NUM LOCAL_WEIGHT MAX_INLIERS SPG_DO_CACHE'.split(
    ' ',
  );

const referenceEnvironment = ['LOCAL_RANK', 'CUDA_VISIBLE_DEVICES'];

const read = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const page = read('coming-from-the-reference.md');
const reference = read('cli.md');
/** The text in code spans of the page. */
const spans = [...page.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');

/** The options of each command, as the generated page lists them. */
const options = new Map(reference.split(/^## (?=cairn )/m).map((section) => [section.slice(0, section.indexOf('\n')), section] as const));

test('every command and option that the page names exists', () => {
  const named = spans.filter((span) => span.startsWith('cairn '));
  expect(named.length).toBeGreaterThan(10);
  for (const span of named) {
    const words = span.split(' ');
    const command = [3, 2].map((length) => words.slice(0, length).join(' ')).find((name) => options.has(name));
    expect(command, span).toBeDefined();
    for (const flag of words.filter((word) => word.startsWith('--')))
      expect(options.get(command ?? ''), `${span}: ${flag}`).toMatch(new RegExp(`\`(-\\w, )?${flag}[ \`]`));
  }
});

/** Whether a path such as `stages.NAME.epochs` is a setting of a recipe. */
function isSetting(path: string): boolean {
  let schema: unknown = recipe;
  for (const part of path.split('.')) {
    while (
      schema instanceof z.ZodDefault ||
      schema instanceof z.ZodPrefault ||
      schema instanceof z.ZodOptional ||
      schema instanceof z.ZodNullable
    )
      schema = schema.unwrap();
    if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodObject && part in schema.shape) schema = schema.shape[part];
    else return false;
  }
  return true;
}

test('every setting that the page names exists', () => {
  const named = spans.flatMap(
    (span) => /^(?:stages|model|prepare|export|extract|search|evaluate|register|ensemble|models)\.[\w.]+$/.exec(span)?.[0] ?? [],
  );
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((path) => !isSetting(path))).toEqual([]);
  expect(isSetting('stages.NAME.rate')).toBe(false);
});

test('the page says where the submission differs from a default', () => {
  const { precision } = exportSettings.parse({ imageSize: 512 });
  expect(page).toContain(`| \`FP16\` (True there) | \`export.precision\`, \`${precision}\` by default;`);
});

test('every recipe and stage that the page names exists, and every built-in pipeline of the reference is on it', async () => {
  const recipes = await loadRecipes();
  const table = page.split('## Recipes')[1]?.split('## Configuration keys')[0] ?? '';
  const ours = [...table.matchAll(/\|[^|]*\|([^|]*)\|/g)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`(\w[\w]*)`/g)].map((match) => match[1] ?? ''),
  );
  expect(ours.filter((name) => !recipes.has(name))).toEqual([]);
  const pipelines = [...recipes.keys()].filter(
    (name) => !['mini', 'mini-resnet50', 'mini-submission', 'submission', 'tiny'].includes(name) && !name.endsWith('-paper'),
  );
  expect(new Set(ours)).toEqual(new Set(pipelines));
  expect(recipes.get('SER101ibn')?.recipe.stages['512_all']).toBeDefined();
});

test.each([
  ['script', '## Scripts', referenceScripts],
  ['configuration key', '## Configuration keys', referenceKeys],
  ['setting', '## Settings of the submission', referenceSettings],
  ['environment variable', '## Environment variables', referenceEnvironment],
] as const)('every %s of the reference is on the page', (_what, heading, names) => {
  const section = page.split(`${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const there = [...section.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
  const isNamed = (name: string): boolean =>
    there.some((span) => (span.endsWith('*') ? name.startsWith(span.slice(0, -1)) : span === name || span.startsWith(`${name}:`)));
  expect(names.filter((name) => !isNamed(name))).toEqual([]);
});
