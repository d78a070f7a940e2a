import { listsDetails, type PlannedStep, type PlanView, type SubmitRequest } from '@cairn/contract';
import {
  explainDifference,
  type KnownInput,
  type MemoParts,
  mayReuse,
  memoParts,
  nameOfInput,
  rulesOf,
  type StepPlan,
  stepKinds,
} from '@cairn/domain';
import { memoPartsColumn } from './columns.ts';
import type { EngineContext } from './context.ts';
import type { Actor } from './engine.ts';
import { estimateSteps, sumEstimates } from './estimate-plan.ts';
import { toJson } from './json.ts';
import { memoKeyOf } from './memo.ts';
import { checkSubmission, type Submission } from './submit.ts';

/** What a submission would do: which steps run, which are reused and from where, and why. Writes nothing. */
export async function planRun(ctx: EngineContext, request: SubmitRequest, actor: Actor): Promise<PlanView> {
  const submission = await checkSubmission(ctx, request, actor.projectId);
  const results = new Map<string, KnownInput>();
  const estimates = await estimateSteps(ctx, submission, actor.projectId);
  const steps: PlannedStep[] = [];
  for (const step of submission.plan) {
    const { planned, result } = await planStep(ctx, step, submission, results, actor.projectId);
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
  if (found?.state === 'ready') return planned('reuse', `made by run ${found.runId}`, { digest: found.digest, details: found.details });
  if (found) return planned('wait-for-same', `run ${found.runId} is building it now`);
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
  return `${explainDifference(parts, memoPartsColumn.parse(nearest.memoParts))} (compared with run ${nearest.runId})`;
}
