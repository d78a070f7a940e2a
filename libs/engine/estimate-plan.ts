import { knownCounts, listsDetails, type PlannedStep, type StepEstimate, stepSettings } from '@cairn/contract';
import { describeSplit, estimateStep, type ListCounts, type StepPlan } from '@cairn/domain';
import type { EngineContext } from './context.ts';
import type { Submission } from './submit.ts';

/** The estimate of each step of a submission, by name: from the measured time of the same step, else from its size. */
export async function estimateSteps(
  ctx: EngineContext,
  submission: Submission,
  projectId: string,
): Promise<ReadonlyMap<string, Pick<PlannedStep, 'estimate' | 'split'>>> {
  const lists = await listCounts(ctx, submission, projectId);
  const entries = submission.plan.map(async (step) => {
    const bySize = estimateStep(step, submission.plan, lists);
    const estimate = bySize && ((await measuredBefore(ctx, step, submission, projectId, bySize)) ?? bySize);
    return [step.name, { estimate, split: step.kind === 'train' ? describeSplit(step.settings) : null }] as const;
  });
  return new Map(await Promise.all(entries));
}

/** The total GPU-hours of the steps that would run, and the most memory that one of them needs. */
export function sumEstimates(steps: readonly PlannedStep[]): StepEstimate {
  const running = steps.flatMap(({ name, action, estimate }) => (action === 'run' && estimate ? [{ name, ...estimate }] : []));
  if (running.length === 0) return { gpuHours: 0, gpuMemoryGib: null, basis: 'no step that would run needs a GPU' };
  const unknown = running.filter((step) => step.gpuHours === null).map((step) => step.name);
  const hours = running.reduce((sum, step) => sum + (step.gpuHours ?? 0), 0);
  const memory = running.flatMap((step) => step.gpuMemoryGib ?? []);
  return {
    gpuHours: unknown.length === running.length ? null : Number(hours.toPrecision(3)),
    gpuMemoryGib: memory.length === 0 ? null : Math.max(...memory),
    basis:
      unknown.length === 0
        ? `the sum over ${running.map((step) => step.name).join(', ')}; each says how it is estimated`
        : `without ${unknown.join(', ')}: ${running.find((step) => step.gpuHours === null)?.basis}`,
  };
}

/**
 * The lengths of the dataset's lists, as prepare counted them; the published ones for a dataset named gldv2 whose lists do not exist yet.
 */
async function listCounts({ prisma }: EngineContext, { dataset }: Submission, projectId: string): Promise<Record<string, ListCounts>> {
  const made = await prisma.artifact.findFirst({
    where: { projectId, kind: 'lists', state: 'ready', memoParts: { path: ['source'], equals: dataset.digest } },
    orderBy: { createdAt: 'desc' },
    select: { details: true },
  });
  const published = Object.entries(dataset.name === 'gldv2' ? knownCounts : {});
  return {
    ...Object.fromEntries(published.map(([list, { rows, labels, source }]) => [list, { rows, classes: labels, source }])),
    ...listsDetails.safeParse(made?.details).data?.lists,
  };
}

/** The estimate from the last run of the same step of the recipe on this dataset, with the same backbone and list. */
async function measuredBefore(
  { prisma }: EngineContext,
  step: StepPlan,
  { recipe, dataset }: Submission,
  projectId: string,
  bySize: StepEstimate,
): Promise<StepEstimate | null> {
  const last = await prisma.step.findFirst({
    where: { name: step.name, kind: step.kind, state: 'succeeded', run: { projectId, recipeName: recipe.name, datasetId: dataset.id } },
    orderBy: { finishedAt: 'desc' },
    select: { startedAt: true, finishedAt: true, slots: true, maxAttempts: true, settings: true, runId: true },
  });
  if (!last?.startedAt || !last.finishedAt) return null;
  const factor = growth(step, last.settings);
  if (factor === null) return null;
  const hours = (last.slots * last.maxAttempts * (last.finishedAt.getTime() - last.startedAt.getTime())) / 3_600_000;
  const scaled = factor === 1 ? '' : `, times ${Number(factor.toPrecision(3))} for its epochs and pixels`;
  return {
    ...bySize,
    gpuHours: Number((hours * factor).toPrecision(3)),
    basis: `slots times its duration in run ${last.runId}${scaled}. From its size alone: ${bySize.basis}`,
  };
}

/** The ratio of a step's work to that of an earlier step; null when they cannot be compared. */
function growth(step: StepPlan, before: unknown): number | null {
  if (step.kind === 'extract') return stepSettings.extract.safeParse(before).data?.list === step.settings.list ? 1 : null;
  if (step.kind !== 'train') return null;
  const earlier = stepSettings.train.safeParse(before).data;
  const { settings } = step;
  if (earlier?.list !== settings.list || earlier.model.backbone !== settings.model.backbone || earlier.sampler !== settings.sampler)
    return null;
  const work = ({ epochs, lastEpoch, imageSize }: typeof settings) => (lastEpoch ?? epochs) * imageSize ** 2;
  return work(settings) / work(earlier);
}
