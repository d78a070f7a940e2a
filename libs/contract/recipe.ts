import { z } from 'zod';
import { idOf, safeName } from './names.ts';
import {
  evaluateSettings,
  exportSettings,
  extractSettings,
  modelSettings,
  prepareSettings,
  registerSettings,
  searchSettings,
  stepSettings,
  trainSettings,
} from './settings.ts';
import { writtenText } from './text.ts';

/** The most training stages of a model; the longest of the reference has four. */
export const mostStages = 32;
/** The most models and the most further steps of a recipe, so that a run stays one that a person can look through. */
export const mostModels = 16;
export const mostSteps = 200;

/** A registered model: its newest version, or the one named. */
export const modelReference = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(@[0-9]{1,9})?$/, 'name or name@version');

/** What a step reads that no step of the recipe makes. */
export const externalInput = z.union(
  [
    z.strictObject({ weights: safeName }).describe('Imported weights, by name.'),
    z.strictObject({ model: modelReference }).describe('A registered model: what the step takes of it.'),
    z.strictObject({ run: writtenText(100, { least: 1 }), step: safeName }).describe('What a step of another run made.'),
    z.strictObject({ artifact: idOf('artifact') }).describe('An artifact, by id.'),
  ],
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

/** One model from its first stage to its registration: the usual chain of steps. Parts that are left out are not steps of the run. */
const pipeline = {
  /** Stages form a chain (a forest) by `from`; the order of the map's keys means nothing. */
  stages: named(mostStages, 'stages')(trainSettings).default({}),
  export: exportSettings
    .extend({
      stage: safeName.nullable().default(null).describe('The stage whose checkpoint is exported.'),
      weights: safeName.nullable().default(null).describe('In place of a stage: an imported model (`cairn import model`).'),
    })
    .optional(),
  /** Extractions by name: the step of `index` is `extract_index`. `query` and `index` are searched against each other. */
  extract: named(mostStages, 'extractions')(extractSettings).default({}),
  search: searchSettings.nullable().prefault({}).describe('null: no search, and so no evaluation.'),
  evaluate: evaluateSettings.nullable().prefault({}).describe('null: no evaluation.'),
  register: registerSettings.optional(),
};

const inputs = named(16, 'inputs')(stepInput).default({});

/** A step of a graph: its kind, its inputs by role, and the settings of its kind. */
const graphStep = z.discriminatedUnion('kind', [
  stepSettings.prepare.extend({ kind: z.literal('prepare'), inputs }),
  stepSettings.train.omit({ from: true, weights: true }).extend({ kind: z.literal('train'), inputs }),
  stepSettings.export.extend({ kind: z.literal('export'), inputs }),
  stepSettings.extract.extend({ kind: z.literal('extract'), inputs }),
  stepSettings.search.extend({ kind: z.literal('search'), inputs }),
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
    models: named(mostModels, 'models')(z.strictObject({ model: modelSettings, ...pipeline })).default({}),
    steps: named(mostSteps, 'steps')(graphStep).default({}),
    until: untilSteps.optional().describe('The steps that are wanted; without it all of them.'),
  })
  .superRefine(({ model, models, steps, stages, export: exported, extract, register }, { addIssue }) => {
    const has = Object.keys(stages).length + Object.keys(extract).length > 0 || exported !== undefined || register !== undefined;
    if (model === undefined && has)
      addIssue({ code: 'custom', path: ['model'], message: 'stages, export, extract and register need a model' });
    if (model === undefined && !has && Object.keys(models).length + Object.keys(steps).length === 0)
      addIssue({ code: 'custom', path: [], message: 'a recipe has a model with stages, several models, or steps' });
  });
export type Recipe = z.infer<typeof recipe>;
/** A recipe as people write it: defaults may be left out. */
export type RecipeInput = z.input<typeof recipe>;
/** The part of a recipe that describes the pipeline of one model. */
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
