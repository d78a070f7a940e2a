import { CairnError, type Recipe, type SubmitRequest } from '@cairn/contract';
import { expandRecipe, refuseMixedFeatures, type StepPlan } from '@cairn/domain';
import { didYouMean, nearestName } from '@cairn/runtime';
import type { EngineContext } from './engine.ts';
import { type ExternalInputs, findExternalInputs } from './external-inputs.ts';
import { resolveRecipe } from './recipes.ts';
import { checkGate } from './run-gate.ts';

/** A validated submission: everything that a run is created from. */
export type Submission = {
  recipe: Recipe;
  plan: StepPlan[];
  inputs: ExternalInputs;
  dataset: { id: string; name: string; version: number; digest: string };
  noReuse: boolean | string[];
};

/**
 * Validates a submission without writing anything.
 *
 * @param options `mayStartLater` where a trigger or schedule submits it: the baseline of its gate need not exist yet
 * @throws CairnError `unknown_recipe`, `unknown_setting`, `invalid_setting`, `not_found` (dataset, inputs from outside), `model_mismatch`,
 *   `invalid_request` (noReuse, gate)
 */
export async function checkSubmission(
  ctx: EngineContext,
  request: SubmitRequest,
  { projectId, mayStartLater = false }: { projectId: string; mayStartLater?: boolean },
): Promise<Submission> {
  const recipe = resolveRecipe(ctx, request);
  const plan = expandRecipe(recipe, request.until);
  const wanted = request.dataset ?? recipe.dataset;
  if (!wanted) throw new CairnError('invalid_request', `recipe ${recipe.name} does not name a dataset; set \`dataset\``);
  const dataset = await findDataset(ctx, wanted, projectId);
  if (Array.isArray(request.noReuse)) {
    const names = plan.map((step) => step.name);
    const unknown = request.noReuse.filter((name) => !names.includes(name));
    if (unknown.length > 0)
      throw new CairnError(
        'invalid_request',
        `noReuse names ${unknown.join(', ')}, which is not a step of the run${didYouMean(nearestName(unknown[0] ?? '', names)) || '.'} The steps are ${names.join(', ')}`,
      );
  }
  const inputs = await findExternalInputs(ctx, plan, projectId);
  refuseMixedFeatures(plan, inputs.of);
  if (request.gate !== undefined) await checkGate(ctx, request.gate, { recipe, plan }, { projectId, mayStartLater });
  return { recipe, plan, inputs, dataset, noReuse: request.noReuse };
}

async function findDataset(ctx: EngineContext, wanted: string, projectId: string) {
  const [name = '', version] = wanted.split('@');
  const dataset = await ctx.prisma.dataset.findFirst({
    where: { projectId, name, ...(version === undefined ? {} : { version: Number(version) }) },
    orderBy: { version: 'desc' },
    select: { id: true, name: true, version: true, digest: true },
  });
  if (dataset) return dataset;
  const newest = await ctx.prisma.dataset.findFirst({
    where: { projectId, name },
    orderBy: { version: 'desc' },
    select: { version: true },
  });
  if (newest) throw new CairnError('not_found', `dataset ${name} has no version ${version}; its newest is ${name}@${newest.version}`);
  const names = await ctx.prisma.dataset.findMany({ where: { projectId }, distinct: ['name'], select: { name: true }, take: 10 });
  const known = names.length > 0 ? `the datasets are ${names.map((row) => row.name).join(', ')}` : 'none is registered yet';
  throw new CairnError('not_found', `dataset ${wanted} not found; ${known}. Register it with \`cairn dataset add\` or POST /v1/datasets`);
}
