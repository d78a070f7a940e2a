import { z } from 'zod';
import { idOf, modelReferencePattern, safeName } from './names.ts';
import { operational } from './setting-marks.ts';
import {
  ensembleSearchSettings,
  evaluateSettings,
  exportSettings,
  extractSettings,
  modelSettings,
  modelWeights,
  prepareSettings,
  registerSettings,
  scanFleetSettings,
  searchSettings,
  stepSettings,
  tagFleetSettings,
  trainSettings,
} from './settings.ts';
import { writtenText } from './text.ts';

/** The most training stages of a model; the longest of the reference has four. */
export const mostStages = 32;
/** The most models and the most further steps of a recipe, so that a run stays one that a person can look through. */
export const mostModels = 16;
export const mostSteps = 200;

/** A registered model: its newest version, or the one named by its number or by an alias. */
export const modelReference = z
  .string()
  .regex(modelReferencePattern, 'name, name@version or name@alias, such as landmark@3 or landmark@production');

const artifactInputs = [
  z.strictObject({ model: modelReference }).describe('A registered model: what the step takes of it.'),
  z.strictObject({ run: writtenText(100, { least: 1 }), step: safeName }).describe('What a step of another run made.'),
  z.strictObject({ artifact: idOf('artifact') }).describe('An artifact, by id.'),
] as const;

/** What a step reads that no step of the recipe makes. */
export const externalInput = z.union(
  [z.strictObject({ weights: safeName }).describe('Imported weights, by name.'), ...artifactInputs],
  'use {weights: NAME}, {model: NAME@VERSION}, {run: RUN, step: STEP} or {artifact: ID}',
);
export type ExternalInput = z.infer<typeof externalInput>;

/** What a step reads: the result of another step of the recipe, by its name, or something from outside. */
export const stepInput = z.union(
  [safeName, ...externalInput.options],
  'use the name of a step, {weights: NAME}, {model: NAME@VERSION}, {run: RUN, step: STEP} or {artifact: ID}',
);
export type StepInputReference = z.infer<typeof stepInput>;

const named =
  (most: number, what: string) =>
  <T extends z.ZodType>(item: T) =>
    z
      .record(safeName, item)
      .refine((items) => Object.keys(items).length <= most, `at most ${most} ${what}`)
      .meta({ maxProperties: most });

/** A stage of a recipe: the checkpoint that it starts from may be that of another run or of a registered model. */
export const stageSettings = trainSettings.extend({
  from: operational(
    z.union(
      [...trainSettings.shape.from.options, ...artifactInputs],
      'use init, the name of a stage, {run: RUN, step: STAGE}, {model: NAME@VERSION} or {artifact: ID}',
    ),
    'What this stage starts from: the last checkpoint of another stage, by its name, `{run: RUN, step: STAGE}`, `{model: NAME@VERSION}` or `{artifact: ID}`; `init`: the beginning.',
  ),
});

/** A stage as people write it. */
export type StageInput = z.input<typeof stageSettings>;

/** One model from its first stage to its registration: the usual chain of steps. Parts that are left out are not steps of the run. */
const pipeline = {
  /** Stages form a chain (a forest) by `from`; the order of the map's keys means nothing. */
  stages: named(mostStages, 'stages')(stageSettings).default({}),
  export: exportSettings
    .extend({
      stage: safeName.nullable().default(null).describe('The stage whose checkpoint is exported.'),
      weights: safeName.nullable().default(null).describe('In place of a stage: an imported model (`cairn import model`).'),
    })
    .optional(),
  /** Extractions by name: the step of `index` is `extract_index`. `query` and `index` are searched against each other. */
  extract: named(mostStages, 'extractions')(extractSettings).default({}),
  search: searchSettings
    .extend({
      fleet: scanFleetSettings
        .nullable()
        .default(null)
        .describe('How a fleet searches a large index on the pool, as a step `scan_index` before the search; null: one task.'),
    })
    .nullable()
    .prefault({})
    .describe('null: no search, and so no evaluation.'),
  evaluate: evaluateSettings.nullable().prefault({}).describe('null: no evaluation.'),
  register: registerSettings.optional(),
};

/** A model of a recipe: trained in the run, imported, or registered before. */
const modelPipeline = z
  .strictObject({
    model: modelSettings.optional(),
    registered: modelReference
      .optional()
      .describe('In place of model, stages and export: a registered model, with which features are extracted.'),
    ...pipeline,
  })
  .superRefine(({ model, registered, stages, export: exported, register }, { addIssue }) => {
    const isMade = model !== undefined || Object.keys(stages).length > 0 || exported !== undefined || register !== undefined;
    if (registered === undefined && model === undefined)
      addIssue({ code: 'custom', path: [], message: 'give its `model`, or the name of a `registered` one' });
    if (registered !== undefined && isMade)
      addIssue({ code: 'custom', path: ['registered'], message: 'a registered model takes no model, stages, export or register' });
  });

/** The models of the recipe searched together, in one step `rerank`; `evaluate` and `register` at the top are of what it finds. */
const ensemble = ensembleSearchSettings.omit({ queryList: true, indexList: true }).extend({
  weights: modelWeights.default({}).describe("Each model's weight in the sum of similarities; of a model that is left out it is 1."),
  whitening: safeName
    .nullable()
    .default(null)
    .describe('The extraction of each model from which a PCA whitening is learned, such as index; null: none.'),
  matcher: safeName
    .nullable()
    .default(null)
    .describe('An imported matcher (`cairn import matcher`) that matches images in place of SIFT, with rerank.localMatching.'),
  tags: tagFleetSettings
    .nullable()
    .default(null)
    .describe(
      'How a fleet finds the nearest reference of each index image, as a step `tag_index` of each model whose result later searches reuse; null: within the step rerank.',
    ),
  eachModel: z.boolean().default(false).describe('Whether each model is searched and evaluated by itself too.'),
});
export type Ensemble = z.infer<typeof ensemble>;

/** References, query, index, tags and whitening of each model. */
const mostInputs = 6 * mostModels + 4;
const inputs = named(mostInputs, 'inputs')(stepInput).default({});

/** A step of a graph: its kind, its inputs by role, and the settings of its kind. */
const graphStep = z.discriminatedUnion('kind', [
  stepSettings.prepare.extend({ kind: z.literal('prepare'), inputs }),
  stepSettings.train.omit({ from: true, weights: true }).extend({ kind: z.literal('train'), inputs }),
  stepSettings.export.extend({ kind: z.literal('export'), inputs }),
  stepSettings.extract.extend({ kind: z.literal('extract'), inputs }),
  stepSettings.scan.extend({ kind: z.literal('scan'), inputs }),
  stepSettings.search.extend({ kind: z.literal('search'), inputs }),
  stepSettings.tag.extend({ kind: z.literal('tag'), inputs }),
  stepSettings.rerank.extend({ kind: z.literal('rerank'), inputs }),
  stepSettings.evaluate.extend({ kind: z.literal('evaluate'), inputs }),
  stepSettings.register.extend({ kind: z.literal('register'), inputs }),
]);
export type GraphStep = z.infer<typeof graphStep>;

/** Steps by name: a run has these, and those that they need. */
export const untilSteps = z
  .array(writtenText(100, { least: 1 }))
  .min(1)
  .max(100);

/**
 * A recipe: a named, typed description of a run's steps and their settings. It is data: built-in recipes are YAML files,
 * users submit their own. `model` with its stages describes the usual pipeline of one model, `models` several of them side by side on the
 * same lists (the steps of the model A are named `A-STEP`), and `steps` any further graph.
 */
export const recipe = z
  .strictObject({
    name: safeName,
    description: writtenText(2000, { lines: true }).default(''),
    /** Name of the dataset that is used when a submission names none. */
    dataset: safeName.optional(),
    prepare: prepareSettings.prefault({}),
    model: modelSettings.optional(),
    ...pipeline,
    models: named(mostModels, 'models')(modelPipeline).default({}),
    ensemble: ensemble.optional(),
    steps: named(mostSteps, 'steps')(graphStep).default({}),
    until: untilSteps.optional().describe('The steps that are wanted; without it all of them.'),
  })
  .superRefine(({ model, models, ensemble: together, steps, stages, export: exported, extract, register }, { addIssue }) => {
    const trains = Object.keys(stages).length + Object.keys(extract).length > 0 || exported !== undefined;
    const has = trains || register !== undefined;
    if (together !== undefined && (model !== undefined || Object.keys(models).length === 0))
      addIssue({
        code: 'custom',
        path: ['ensemble'],
        message: 'an ensemble uses the models in `models`; remove the model at the top level',
      });
    for (const name of Object.keys(together?.weights ?? {}))
      if (!Object.hasOwn(models, name))
        addIssue({
          code: 'custom',
          path: ['ensemble', 'weights', name],
          message: `model not found; the models are ${Object.keys(models).join(', ')}`,
        });
    if (model === undefined && (together === undefined ? has : trains))
      addIssue({ code: 'custom', path: ['model'], message: 'stages, export, extract and register need a model' });
    if (model === undefined && !has && Object.keys(models).length + Object.keys(steps).length === 0)
      addIssue({ code: 'custom', path: [], message: 'a recipe has a model with stages, several models, or steps' });
  });
export type Recipe = z.infer<typeof recipe>;
/** A recipe as people write it: defaults may be left out. */
export type RecipeInput = z.input<typeof recipe>;
/** The part of a recipe that describes the pipeline of one model; a registered one has no settings of its own. */
export type Pipeline = Recipe['models'][string];

/** The pipelines of a recipe by the name of their model; '' is the one at the top. */
export function pipelinesOf({
  model,
  models,
  stages,
  export: exported,
  extract,
  search,
  evaluate,
  register,
}: Recipe): [string, Pipeline][] {
  const top: [string, Pipeline][] =
    model === undefined ? [] : [['', { model, stages, export: exported, extract, search, evaluate, register }]];
  return [...top, ...Object.entries(models)];
}

/**
 * JSON Schema 2020-12 of a recipe as people write it, where defaults may be omitted. Editors use it to complete and check recipes in YAML.
 */
export function recipeSchemaText(): string {
  const schema = z.toJSONSchema(recipe, { io: 'input', target: 'draft-2020-12' });
  return `${JSON.stringify({ title: 'A recipe of Cairn', ...schema }, null, 2)}\n`;
}
