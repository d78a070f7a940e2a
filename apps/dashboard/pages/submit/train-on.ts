import { type Recipe, type RunView, recipe as recipeSchema } from '@cairn/contract';

/**
 * A recipe that trains on from the result of a stage of a run: a graph with the lists of that run and one stage with its settings, which
 * starts from its checkpoint. Without a name, the last stage. Null where the run has no such stage, or an earlier release wrote its settings.
 */
export function trainOnRecipe(run: Pick<RunView, 'id' | 'name' | 'dataset' | 'stepViews'>, stageName: string): Recipe | null {
  const stage = run.stepViews.findLast(({ kind, name }) => kind === 'train' && (stageName === '' || name === stageName));
  if (stage === undefined) return null;
  const prepare = run.stepViews.find(({ kind }) => kind === 'prepare');
  const { from: _, weights: __, ...settings } = stage.settings;
  const lists = stage.name === 'lists' ? 'prepare-lists' : 'lists';
  const parsed = recipeSchema.safeParse({
    name: `on-from-${stage.name}`.slice(0, 63),
    description: `Trains on from the stage ${stage.name} of the run ${run.name}.`,
    dataset: run.dataset.split('@')[0],
    steps: {
      [lists]: { ...prepare?.settings, kind: 'prepare' },
      [stage.name]: { ...settings, kind: 'train', inputs: { lists, start: { run: run.id, step: stage.name } } },
    },
  });
  return parsed.success ? parsed.data : null;
}
