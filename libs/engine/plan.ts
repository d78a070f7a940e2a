import {
  knownCounts,
  listsDetails,
  type PlannedStep,
  type PlanView,
  type StepEstimate,
  type SubmitRequest,
  stepSettings,
} from '@cairn/contract';
import {
  describeSplit,
  estimateStep,
  explainDifference,
  type KnownInput,
  type ListCounts,
  type MemoParts,
  mayReuse,
  memoParts,
  nameOfInput,
  rulesOf,
  type StepPlan,
  stepKinds,
} from '@cairn/domain';
import { checkSubmission, type Submission } from './check-submission.ts';
import { memoPartsColumn, toJson } from './columns.ts';
import type { Actor, EngineContext } from './engine.ts';
import { memoKeyOf } from './memo.ts';

/** What a submission would do: which steps run, which are reused and from where, and why. Writes nothing. */
export async function planRun(ctx: EngineContext, request: SubmitRequest, actor: Actor): Promise<PlanView> {
  return planSubmission(ctx, await checkSubmission(ctx, request, actor), actor.projectId);
}

/** The plan of a checked submission. */
export async function planSubmission(ctx: EngineContext, submission: Submission, projectId: string): Promise<PlanView> {
  const results = new Map<string, KnownInput>();
  const estimates = await estimateSteps(ctx, submission, projectId);
  const steps: PlannedStep[] = [];
  for (const step of submission.plan) {
    const { planned, result } = await planStep(ctx, step, submission, results, projectId);
    results.set(step.name, result);
    steps.push({ ...planned, ...(estimates.get(step.name) ?? { estimate: null, split: null }) });
  }
  const { dataset, recipe } = submission;
  return {
    recipe,
    dataset: `${dataset.name}@${dataset.version}`,
    steps,
    estimate: sumEstimates(steps),
  };
}

const notKnown: KnownInput = { digest: null, details: null };

async function planStep(
  ctx: EngineContext,
  step: StepPlan,
  { inputs, dataset, noReuse }: Pick<Submission, 'inputs' | 'dataset' | 'noReuse'>,
  results: ReadonlyMap<string, KnownInput>,
  projectId: string,
): Promise<{ planned: Omit<PlannedStep, 'estimate' | 'split'>; result: KnownInput }> {
  const planned = (action: PlannedStep['action'], why: string, result = notKnown) => ({
    planned: {
      name: step.name,
      kind: step.kind,
      needs: step.needs.map((need) => need.step),
      action,
      why,
      settings: step.settings,
      slots: rulesOf(step).slots,
      given: step.wants.map(({ role, input }) => ({ role, name: nameOfInput(input), sha256: inputs.of(step, role)?.digest ?? null })),
    },
    result,
  });
  if (!stepKinds[step.kind].reusable) return planned('run', 'every run registers a model');
  if (!mayReuse(step, noReuse)) return planned('run', 'reuse is disabled for this step');
  const absent = step.wants.filter(({ role }) => inputs.of(step, role) === undefined).map(({ input }) => nameOfInput(input));
  if (absent.length > 0) return planned('run', `the weights ${absent.join(' and ')} are not imported yet`);
  const known = Object.fromEntries([
    ...step.needs.map((need) => [need.role, results.get(need.step) ?? notKnown]),
    ...step.wants.map(({ role }) => [role, inputs.of(step, role) ?? notKnown]),
  ]);
  const { parts, unknown } = memoParts(step, known, dataset.digest);
  if (parts === null) {
    const names = [...new Set(step.needs.filter((need) => unknown.includes(need.role)).map((need) => need.step))];
    return planned('run', `${names.join(' and ')} ${names.length === 1 ? 'runs' : 'run'} first`);
  }
  const found = await ctx.prisma.artifact.findFirst({
    where: { projectId, memoKey: memoKeyOf(parts), state: { in: ['ready', 'building'] } },
    select: { state: true, runId: true, digest: true, details: true },
  });
  if (found !== null) {
    const { state, runId, digest, details } = found;
    const name = await runName(ctx, runId);
    return state === 'ready'
      ? planned('reuse', `made by ${name}`, { digest, details })
      : planned('wait-for-same', `${name} is building it now`);
  }
  const nearest = await nearestDifference(ctx, step, parts, projectId);
  return planned('run', nearest, stepKinds[step.kind].makes === 'lists' ? await listsMadeBefore(ctx, parts, projectId) : notKnown);
}

/**
 * Lists that will be the same as before: those made from the same dataset with the same settings, regardless of which other lists were
 * made.
 */
async function listsMadeBefore({ prisma }: EngineContext, parts: MemoParts, projectId: string): Promise<KnownInput> {
  const { lists: _, ...settings } = parts.settings;
  const made = await prisma.artifact.findMany({
    where: {
      projectId,
      kind: 'lists',
      state: 'ready',
      AND: [
        { memoParts: { path: ['source'], equals: parts.source ?? '' } },
        { memoParts: { path: ['version'], equals: parts.version ?? 0 } },
        ...Object.entries(settings).map(([name, value]) => ({ memoParts: { path: ['settings', name], equals: toJson(value) } })),
      ],
    },
    orderBy: { createdAt: 'desc' },
    take: 20,
    select: { details: true },
  });
  const known = made.flatMap(({ details }) => listsDetails.safeParse(details).data ?? []);
  const lists = Object.assign({}, ...known.map((details) => details.lists).reverse());
  return { digest: null, details: { lists, groundTruth: known.find(({ groundTruth }) => groundTruth)?.groundTruth ?? null } };
}

/** The parts in which the key differs from that of the newest result of the same step. */
async function nearestDifference(ctx: EngineContext, step: StepPlan, parts: MemoParts, projectId: string): Promise<string> {
  const nearest = await ctx.prisma.artifact.findFirst({
    where: { projectId, stepName: step.name, kind: stepKinds[step.kind].makes, state: 'ready' },
    orderBy: { createdAt: 'desc' },
    select: { memoParts: true, runId: true },
  });
  if (!nearest) return 'it has not been built before';
  return `${explainDifference(parts, memoPartsColumn.parse(nearest.memoParts))} (compared with ${await runName(ctx, nearest.runId)})`;
}

/** The name by which people know a run, or its id. */
async function runName({ prisma }: EngineContext, runId: string | null): Promise<string> {
  if (runId === null) return 'an import';
  const run = await prisma.run.findUnique({ where: { id: runId }, select: { name: true } });
  return run === null ? `run ${runId}` : `the run ${run.name}`;
}

/** The estimate of each step of a submission, by name: from the measured time of the same step, else from its size. */
async function estimateSteps(
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
function sumEstimates(steps: readonly PlannedStep[]): StepEstimate {
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
