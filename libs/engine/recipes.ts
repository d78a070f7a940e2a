import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { CairnError, type Recipe, recipe as recipeSchema } from '@cairn/contract';
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
