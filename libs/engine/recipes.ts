import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { CairnError, type Recipe, recipe as recipeSchema } from '@cairn/contract';
import { parse, stringify } from 'yaml';
import { referenceRecipes } from './recipes/reference.ts';

export type BuiltinRecipe = { recipe: Recipe; yaml: string };

/** The built-in recipes by name: the YAML files of the folder `recipes`, and the reference's, which are data of TypeScript. */
export async function loadRecipes(): Promise<Map<string, BuiltinRecipe>> {
  const folder = path.join(import.meta.dirname, 'recipes');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  const written = await Promise.all(files.map(async (file) => builtin(await readFile(path.join(folder, file), 'utf8'), file)));
  const ofReference = referenceRecipes.map((input) => builtin(stringify(input), input.name));
  return new Map([...written, ...ofReference].map((one) => [one.recipe.name, one]));
}

/** A recipe from its YAML. One that does not fit the schema is a fault of this release. */
function builtin(yaml: string, source: string): BuiltinRecipe {
  const parsed = recipeSchema.safeParse(parse(yaml));
  if (!parsed.success) throw new CairnError('internal', `the built-in recipe ${source} does not fit the schema: ${parsed.error.message}`);
  return { recipe: parsed.data, yaml };
}
