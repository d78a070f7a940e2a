import { z } from 'zod';
import { safeName } from './names.ts';
import {
  evaluateSettings,
  exportSettings,
  extractSettings,
  modelSettings,
  prepareSettings,
  registerSettings,
  searchSettings,
  trainSettings,
} from './settings.ts';
import { writtenText } from './text.ts';

/** The most training stages of a recipe; the longest of the reference has four. */
export const mostStages = 32;

/**
 * A recipe: a named, typed description of a run's steps and their settings. It is data: built-in recipes are YAML files,
 * users submit their own. Stages form a chain (a forest) by `from`; the order of the map's keys means nothing.
 */
export const recipe = z.strictObject({
  name: safeName,
  description: writtenText(2000, { lines: true }).default(''),
  /** Name of the dataset that is used when a submission names none. */
  dataset: safeName.optional(),
  model: modelSettings,
  prepare: prepareSettings.prefault({}),
  stages: z
    .record(safeName, trainSettings)
    .refine((stages) => Object.keys(stages).length <= mostStages, `a recipe has at most ${mostStages} stages`)
    .meta({ description: 'At least one, or none where `export.weights` names an imported model.', maxProperties: mostStages }),
  export: exportSettings.extend({
    stage: safeName.nullable().default(null).describe('The stage whose checkpoint is exported.'),
    weights: safeName.nullable().default(null).describe('In place of a stage: an imported model (`cairn import model`).'),
  }),
  /** Extractions by name; `query` and `index` are searched against each other. */
  extract: z.strictObject({ index: extractSettings, query: extractSettings }),
  search: searchSettings.prefault({}),
  evaluate: evaluateSettings.prefault({}),
  register: registerSettings,
});
export type Recipe = z.infer<typeof recipe>;
/** A recipe as people write it: defaults may be left out. */
export type RecipeInput = z.input<typeof recipe>;
