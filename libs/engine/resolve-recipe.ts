import { CairnError, type Recipe, recipe as recipeSchema, type SubmitRequest } from '@cairn/contract';
import { didYouMean, nearestName } from '@cairn/runtime';
import type { EngineContext } from './context.ts';
import { findRecipe } from './recipes.ts';

/**
 * The recipe of a submission with its overrides applied and checked.
 *
 * @throws CairnError `unknown_recipe` and `unknown_setting` (both with the nearest name), `invalid_setting`
 */
export function resolveRecipe({ recipes }: Pick<EngineContext, 'recipes'>, request: Pick<SubmitRequest, 'recipe' | 'set'>): Recipe {
  const recipe = typeof request.recipe === 'string' ? findRecipe(recipes, request.recipe).recipe : request.recipe;
  const changed = structuredClone(recipe) as Record<string, unknown>;
  for (const [path, value] of Object.entries(request.set)) override(changed, path, value);
  keepEffectiveBatch(changed, recipe, request.set);
  const parsed = recipeSchema.safeParse(changed);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map((issue) => {
    const value = issue.code === 'invalid_value' ? issue.path.reduce<unknown>(partOf, changed) : undefined;
    const nearest = issue.code === 'invalid_value' && typeof value === 'string' ? nearestName(value, issue.values.map(String)) : null;
    return { path: issue.path.join('.'), message: issue.message + didYouMean(nearest) };
  });
  throw new CairnError('invalid_setting', errors.map(({ path, message }) => `${path}: ${message}`).join('; '), { details: { errors } });
}

/**
 * Another number of ranks, or another batch, leaves the images of a step as they were, and so the learning rate right: the stage adds the
 * gradients of several batches. Whoever wants another step sets `effectiveBatch` too (null: batch x ranks).
 */
function keepEffectiveBatch(changed: Record<string, unknown>, { stages }: Recipe, set: Record<string, unknown>): void {
  for (const [name, { batch, ranks, effectiveBatch }] of Object.entries(stages)) {
    const isSet = (setting: string): boolean => Object.hasOwn(set, `stages.${name}.${setting}`);
    if (effectiveBatch === null && (isSet('batch') || isSet('ranks')) && !isSet('effectiveBatch'))
      override(changed, `stages.${name}.effectiveBatch`, batch * ranks);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

const partOf = (whole: unknown, key: PropertyKey): unknown => (whole as Partial<Record<PropertyKey, unknown>> | null | undefined)?.[key];

/** Sets one setting by its path. Every part must exist: an override changes a recipe and adds nothing to it. */
function override(recipe: Record<string, unknown>, path: string, value: unknown): void {
  const parts = path.split('.');
  let target = recipe;
  parts.forEach((part, index) => {
    if (!Object.hasOwn(target, part)) {
      const names = Object.keys(target);
      const here = parts.slice(0, index).join('.');
      const near = nearestName(part, names);
      const nearest = near === null ? null : [...parts.slice(0, index), near].join('.');
      const found = here ? `"${here}" has` : 'There are';
      throw new CairnError(
        'unknown_setting',
        `the recipe has no setting "${path}"${didYouMean(nearest) || '.'} ${found} ${names.join(', ')}`,
        { details: { setting: path, ...(nearest === null ? {} : { nearest }), names } },
      );
    }
    if (index === parts.length - 1) {
      if (part === 'name' && index === 0)
        throw new CairnError('invalid_setting', 'the name of a recipe cannot be overridden; give the run a name with `name`');
      target[part] = value;
      return;
    }
    const next = target[part];
    if (!isObject(next))
      throw new CairnError(
        'unknown_setting',
        `"${parts.slice(0, index + 1).join('.')}" is one value and has no setting "${parts[index + 1]}"`,
        { details: { setting: path } },
      );
    target = next;
  });
}
