import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { CairnError, type Recipe, recipe as recipeSchema } from '@cairn/contract';
import { parse } from 'yaml';

export type BuiltinRecipe = { recipe: Recipe; yaml: string };

/** The built-in recipes by name: the YAML files beside this module. A file that does not fit the schema is a fault of this release. */
export async function loadRecipes(): Promise<Map<string, BuiltinRecipe>> {
  const folder = path.join(import.meta.dirname, 'recipes');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  const recipes = await Promise.all(
    files.map(async (file): Promise<[string, BuiltinRecipe]> => {
      const yaml = await readFile(path.join(folder, file), 'utf8');
      const parsed = recipeSchema.safeParse(parse(yaml));
      if (!parsed.success) throw new CairnError('internal', `the built-in recipe ${file} does not fit the schema: ${parsed.error.message}`);
      return [parsed.data.name, { recipe: parsed.data, yaml }];
    }),
  );
  return new Map(recipes);
}
