import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { writeOrCheck } from './generated-file.ts';
import { recipe } from './recipe.ts';

/** docs/recipe.schema.json, which this file generates from recipe.ts: editors complete and check recipes in YAML with it. */
const recipeSchemaPath = fileURLToPath(new URL('../../docs/recipe.schema.json', import.meta.url));

/** JSON Schema 2020-12 of a recipe as people write it: defaults may be left out. */
function recipeSchemaText(): string {
  const schema = z.toJSONSchema(recipe, { io: 'input', target: 'draft-2020-12' });
  return `${JSON.stringify({ title: 'A recipe of Cairn', ...schema }, null, 2)}\n`;
}

if (import.meta.main) await writeOrCheck(recipeSchemaPath, recipeSchemaText(), 'libs/contract/recipe.ts');
