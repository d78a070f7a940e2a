import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { CairnError, type Ensemble, type Recipe, recipe as recipeSchema } from '@cairn/contract';
import { didYouMean, nearestName } from '@cairn/runtime';
import { parse, stringify } from 'yaml';
import { referenceConfigurations, referenceRecipes } from './recipes/reference.ts';
import { submission } from './recipes/submission.ts';

export type BuiltinRecipe = { recipe: Recipe; yaml: string };

/** The built-in recipes by name: the YAML files in the folder `recipes`, and those of the reference, which are TypeScript data. */
export async function loadRecipes(): Promise<Map<string, BuiltinRecipe>> {
  const folder = path.join(import.meta.dirname, 'recipes');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  const written = await Promise.all(files.map(async (file) => builtin(await readFile(path.join(folder, file), 'utf8'), file)));
  const ofReference = referenceRecipes.map((input) => builtin(stringify(input), input.name));
  return new Map([...written, ...ofReference].map((one) => [one.recipe.name, one]));
}

/** The ensembles of built-in recipes, by name. */
export const ensembles: ReadonlyMap<string, Ensemble> = new Map([[submission.name, submission]]);

/**
 * A built-in recipe by its name.
 *
 * @throws CairnError `unknown_recipe` with the nearest name, or with the recipes that correspond to an ensemble or to a configuration of
 *   the reference
 */
export function findRecipe<T>(recipes: ReadonlyMap<string, T>, name: string): T {
  const found = recipes.get(name);
  if (found !== undefined) return found;
  const names = [...recipes.keys()];
  const parts = ensembles.get(name);
  if (parts !== undefined) {
    const models = Object.keys(parts.models).join(', ');
    throw new CairnError(
      'unknown_recipe',
      `"${name}" is an ensemble of several recipes: submit ${models}; searching their models together is not supported yet`,
      {
        details: { names },
      },
    );
  }
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
