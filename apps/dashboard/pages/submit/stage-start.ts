import { type ExternalInput, ownValue, pipelinesOf, type Recipe } from '@cairn/contract';

/** What a stage starts from, as its settings `from` and `weights` say it. */
export type StageStart = { from: Recipe['stages'][string]['from']; weights: string | null };

/** Whether a setting says what a stage starts from: `stages.NAME.from`, or the same of one of several models. */
export const isStageStart = (path: readonly string[]): boolean => path.at(-1) === 'from' && path.at(-3) === 'stages';

/** The settings with which a training step of a recipe starts from a checkpoint; none where the recipe has no such step. */
export function startSettings(recipe: Recipe, step: string, from: ExternalInput): { path: string[]; value: unknown }[] {
  for (const [model, { stages }] of pipelinesOf(recipe))
    for (const [stage, { weights }] of Object.entries(stages)) {
      if ((model === '' ? stage : `${model}-${stage}`) !== step) continue;
      const path = [...(model === '' ? [] : ['models', model]), 'stages', stage];
      return [{ path: [...path, 'from'], value: from }, ...(weights === null ? [] : [{ path: [...path, 'weights'], value: null }])];
    }
  return ownValue(recipe.steps, step)?.kind === 'train' ? [{ path: ['steps', step, 'inputs', 'start'], value: from }] : [];
}
