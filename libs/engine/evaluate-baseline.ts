import { CairnError, type RunState, recipe as recipeSchema, stepKind, submitRequest } from '@cairn/contract';
import { baselineRecipe } from '@cairn/domain';
import { states } from './columns.ts';
import type { Actor, BaselineOnRun, EngineContext } from './engine.ts';
import { evaluationStepOf } from './run-gate.ts';
import { submitRun } from './submit.ts';

/**
 * Starts the run that scores a version on the data of another run, so that a gate can compare both. Asking again gives the same run.
 *
 * @throws CairnError `not_found`; `invalid_request` where the run's evaluation is not that of one model; what a submission throws
 */
export async function evaluateBaseline(
  ctx: EngineContext,
  { runId, step = null, model, version }: BaselineOnRun,
  actor: Actor,
): Promise<{ runId: string; created: boolean }> {
  const { projectId } = actor;
  const registered = `${model}@${version}`;
  const idempotencyKey = `gate:${runId}${step === null ? '' : `/${step}`}:${registered}`;
  // What a later release adds to recipes makes the same submission another one.
  const started = await ctx.prisma.run.findUnique({
    where: { projectId_idempotencyKey: { projectId, idempotencyKey } },
    select: { id: true },
  });
  if (started !== null) return { runId: started.id, created: false };
  const run = await ctx.prisma.run.findFirst({
    where: { id: runId, projectId },
    select: {
      ...{ name: true, recipe: true, labels: true, priority: true, dataset: { select: { name: true, version: true } } },
      steps: { select: { name: true, kind: true }, orderBy: { position: 'asc' } },
    },
  });
  if (run === null) throw new CairnError('not_found', `run ${runId} not found`);
  const { name, labels, priority, dataset } = run;
  const recipe = recipeSchema.parse(run.recipe);
  const plan = run.steps.map((row) => ({ name: row.name, kind: stepKind.parse(row.kind) }));
  const baseline = baselineRecipe(recipe, step ?? evaluationStepOf(plan) ?? '', registered);
  if (baseline === null)
    throw new CairnError('invalid_request', `${registered} cannot be evaluated as ${name} was: it evaluates more than one model`, {
      details: { remedy: 'Evaluate it with a recipe that names it as `registered`, and compare both evaluations by their names.' },
    });
  const request = submitRequest.parse({ recipe: baseline, dataset: `${dataset.name}@${dataset.version}`, labels, priority });
  return submitRun(ctx, request, actor, idempotencyKey, { kind: 'gate', run: name, model, version });
}

/** {@link evaluateBaseline} for a gate that is due, and how far that run is. */
export async function awaitBaseline(
  ctx: EngineContext,
  wanted: BaselineOnRun,
  actor: Actor,
): Promise<{ id: string; name: string; state: RunState; cause: string | null }> {
  const { runId } = await evaluateBaseline(ctx, wanted, actor);
  const { id, name, state, cause } = await ctx.prisma.run.findUniqueOrThrow({ where: { id: runId } });
  return { id, name, state: states.run.parse(state), cause };
}
