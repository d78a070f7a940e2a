import { fileURLToPath } from 'node:url';
import { writeOrCheck } from './generated-file.ts';
import { recipeSchemaText } from './recipe.ts';

/** docs/recipe.schema.json, which this file generates from recipe.ts. */
const recipeSchemaPath = fileURLToPath(new URL('../../docs/recipe.schema.json', import.meta.url));

if (import.meta.main) await writeOrCheck(recipeSchemaPath, recipeSchemaText(), 'libs/contract/recipe.ts');
