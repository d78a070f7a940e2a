import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  CairnError,
  declaresSetting,
  type Recipe,
  recipe as recipeSchema,
  type SubmitRequest,
  settingPath,
  settingPathText,
} from '@cairn/contract';
import { didYouMean, nearestName } from '@cairn/runtime';
import { parse, stringify } from 'yaml';
import { referenceConfigurations, referenceRecipes } from './recipes/reference.ts';

export type BuiltinRecipe = { recipe: Recipe; yaml: string };

/** The built-in recipes by name: the YAML files in the folder `recipes`, and those of the reference, which are TypeScript data. */
export async function loadRecipes(): Promise<Map<string, BuiltinRecipe>> {
  const folder = path.join(import.meta.dirname, 'recipes');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  const written = await Promise.all(files.map(async (file) => builtin(await readFile(path.join(folder, file), 'utf8'), file)));
  const ofReference = referenceRecipes.map((input) => builtin(stringify(input), input.name));
  return new Map([...written, ...ofReference].map((one) => [one.recipe.name, one]));
}

/**
 * A built-in recipe by its name.
 *
 * @throws CairnError `unknown_recipe` with the nearest name, or with what a configuration of the reference is here
 */
export function findRecipe<T>(recipes: ReadonlyMap<string, T>, name: string): T {
  const found = recipes.get(name);
  if (found !== undefined) return found;
  const names = [...recipes.keys()];
  const configuration = referenceConfigurations.get(name.replace(/^.*\//, '').replace(/\.ya?ml$/i, ''));
  if (configuration !== undefined) {
    const { recipe, stage } = configuration;
    throw new CairnError(
      'unknown_recipe',
      `"${name}" is a configuration of the reference; use the stage ${stage} of the recipe ${recipe}`,
      {
        details: { nearest: recipe, names },
      },
    );
  }
  const nearest = nearestName(name, names);
  throw new CairnError('unknown_recipe', `recipe "${name}" not found${didYouMean(nearest) || '.'} The recipes are ${names.join(', ')}`, {
    details: { ...(nearest === null ? {} : { nearest }), names },
  });
}

/** A recipe from its YAML. An invalid one is a bug in this release. */
function builtin(yaml: string, source: string): BuiltinRecipe {
  const parsed = recipeSchema.safeParse(parse(yaml));
  if (!parsed.success) throw new CairnError('internal', `the built-in recipe ${source} is invalid: ${parsed.error.message}`);
  return { recipe: parsed.data, yaml };
}

/**
 * The recipe of a submission with its overrides applied and checked.
 *
 * @throws CairnError `unknown_recipe` and `unknown_setting` (both with the nearest name), `invalid_setting`
 */
export function resolveRecipe(
  { recipes }: { recipes: ReadonlyMap<string, BuiltinRecipe> },
  request: Pick<SubmitRequest, 'recipe' | 'set'>,
): Recipe {
  const recipe = typeof request.recipe === 'string' ? findRecipe(recipes, request.recipe).recipe : request.recipe;
  const changed = structuredClone(recipe) as Record<string, unknown>;
  const overrides = Object.entries(request.set).map(([path, value]) => ({ path: settingPath(path), value }));
  for (const { path, value } of overrides) override(changed, path, value);
  keepEffectiveBatch(
    changed,
    recipe,
    overrides.map(({ path }) => path),
  );
  const parsed = recipeSchema.safeParse(changed);
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const errors = issues.slice(0, maxReported).map((issue) => {
    const value = issue.code === 'invalid_value' ? issue.path.reduce<unknown>(partOf, changed) : undefined;
    const nearest = issue.code === 'invalid_value' && typeof value === 'string' ? nearestName(value, issue.values.map(String)) : null;
    return { path: settingPathText(issue.path), message: issue.message + didYouMean(nearest) };
  });
  const more = issues.length > errors.length ? `; and ${issues.length - errors.length} more` : '';
  const messages = errors.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ');
  throw new CairnError('invalid_setting', messages + more, { details: { errors } });
}

/** Most issues that an error lists. */
const maxReported = 20;

/**
 * When ranks or batch are overridden, keeps the number of images per optimizer step, so that the learning rate stays right: the stage
 * accumulates the gradients of several batches. To change the step, override `effectiveBatch` too (null: batch x ranks).
 */
function keepEffectiveBatch(changed: Record<string, unknown>, { stages, models }: Recipe, overridden: readonly string[][]): void {
  const ofModels = Object.entries(models).map(([model, pipeline]) => ({ at: ['models', model, 'stages'], stages: pipeline.stages }));
  for (const { at, stages: own } of [{ at: ['stages'], stages }, ...ofModels])
    for (const [name, { batch, ranks, effectiveBatch }] of Object.entries(own)) {
      const isSet = (setting: string): boolean => overridden.some((path) => isDeepStrictEqual(path, [...at, name, setting]));
      if (effectiveBatch === null && (isSet('batch') || isSet('ranks')) && !isSet('effectiveBatch'))
        override(changed, [...at, name, 'effectiveBatch'], batch * ranks);
    }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

const partOf = (whole: unknown, key: PropertyKey): unknown => (whole as Partial<Record<PropertyKey, unknown>> | null | undefined)?.[key];

/** Sets one setting by its path. Every part must exist, but for the last where it is optional: an override cannot add stages, steps or models. */
function override(recipe: Record<string, unknown>, parts: readonly string[], value: unknown): void {
  const path = settingPathText(parts);
  let target = recipe;
  parts.forEach((part, index) => {
    const isAbsent = index === parts.length - 1 && declaresSetting(recipeSchema, parts);
    if (!Object.hasOwn(target, part) && !isAbsent) {
      const names = Object.keys(target);
      const here = settingPathText(parts.slice(0, index));
      const near = nearestName(part, names);
      const nearest = near === null ? null : settingPathText([...parts.slice(0, index), near]);
      const found = here ? `"${here}" has` : 'The settings are';
      throw new CairnError(
        'unknown_setting',
        `the recipe has no setting "${path}"${didYouMean(nearest) || '.'} ${found} ${names.join(', ')}`,
        { details: { setting: path, ...(nearest === null ? {} : { nearest }), names } },
      );
    }
    if (index === parts.length - 1) {
      if (part === 'name' && index === 0)
        throw new CairnError('invalid_setting', 'the name of a recipe cannot be overridden; name the run with `name`');
      target[part] = value;
      return;
    }
    const next = target[part];
    if (!isObject(next))
      throw new CairnError(
        'unknown_setting',
        `"${settingPathText(parts.slice(0, index + 1))}" is a single value and has no setting "${parts[index + 1]}"`,
        { details: { setting: path } },
      );
    target = next;
  });
}
