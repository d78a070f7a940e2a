import { ownValue, pipelinesOf, type Recipe, type RecipeInput } from '@cairn/contract';

/** The model of a recipe that scores a baseline. */
const modelName = 'baseline';
/** The step that makes the evaluation of such a recipe. */
export const baselineStep = `${modelName}-evaluate`;

/**
 * The recipe that scores a registered model on the data of another run: with its lists, extractions, search and evaluation, so that both
 * evaluations can be compared. Null where the run's evaluation is not that of one model, as in an ensemble or a graph.
 *
 * @param recipe that of the run
 * @param step the step whose evaluation is compared, such as `evaluate`
 * @param registered MODEL@VERSION
 */
export function baselineRecipe(recipe: Recipe, step: string, registered: string): RecipeInput | null {
  const pipeline = pipelinesOf(recipe).find(([name]) => (name === '' ? 'evaluate' : `${name}-evaluate`) === step)?.[1];
  if (pipeline === undefined || recipe.ensemble !== undefined || Object.hasOwn(recipe.steps, step)) return null;
  const { extract, search, evaluate } = pipeline;
  const [index, query] = [ownValue(extract, 'index'), ownValue(extract, 'query')];
  const ownLists = ownValue(recipe.steps, 'prepare');
  if (index === undefined || query === undefined || search === null || evaluate === null) return null;
  return {
    name: recipe.name,
    prepare: recipe.prepare,
    models: { [modelName]: { registered, extract: { index, query }, search, evaluate } },
    ...(ownLists === undefined ? {} : { steps: { prepare: ownLists } }),
    until: [baselineStep],
  };
}
