import { z } from 'zod';
import { recipe } from './recipe.ts';

/**
 * JSON Schema 2020-12 of a recipe as people write it, where defaults may be omitted. Editors use it to complete and check recipes in YAML.
 */
export function recipeSchemaText(): string {
  const schema = z.toJSONSchema(recipe, { io: 'input', target: 'draft-2020-12' });
  return `${JSON.stringify({ title: 'A recipe of Cairn', ...schema }, null, 2)}\n`;
}
