import type { PlannedStep, PlanView, SubmitRequest } from '@cairn/contract';
import { explainDifference, type MemoParts, memoParts, type StepPlan } from '@cairn/domain';
import type { EngineContext } from './context.ts';
import type { Actor } from './engine.ts';
import { estimateSteps, sumEstimates } from './estimate-plan.ts';
import { givenTo } from './imported-weights.ts';
import { artifactKinds, mayReuse, memoKeyOf } from './memo.ts';
import { checkSubmission, type Submission } from './submit.ts';

/** What a submission would do: which steps run, which are reused and from where, and why. Writes nothing. */
export async function planRun(ctx: EngineContext, request: SubmitRequest, actor: Actor): Promise<PlanView> {
  const submission = await checkSubmission(ctx, request, actor.projectId);
  const digests = new Map<string, string | null>();
  const estimates = await estimateSteps(ctx, submission, actor.projectId);
  const steps: PlannedStep[] = [];
  for (const step of submission.plan) {
    const { planned, digest } = await planStep(ctx, step, submission, digests, actor.projectId);
    digests.set(step.name, digest);
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

async function planStep(
  ctx: EngineContext,
  step: StepPlan,
  submission: Submission,
  digests: ReadonlyMap<string, string | null>,
  projectId: string,
) {
  const planned = (action: PlannedStep['action'], why: string): Omit<PlannedStep, 'estimate' | 'split'> => ({
    name: step.name,
    kind: step.kind,
    needs: step.needs.map((need) => need.step),
    action,
    why,
    settings: step.settings,
    slots: step.slots,
    given: step.wants.map(({ role, name }) => ({ role, name, sha256: submission.weights.get(name)?.sha256 ?? null })),
  });
  if (step.kind === 'register') return { planned: planned('run', 'a model is registered by every run'), digest: null };
  if (!mayReuse(step.kind, step.name, submission.noReuse)) return { planned: planned('run', 'reuse is switched off for it'), digest: null };
  const absent = step.wants.filter((want) => !submission.weights.has(want.name)).map((want) => want.name);
  if (absent.length > 0) return { planned: planned('run', `the weights ${absent.join(' and ')} are not here yet`), digest: null };
  const unknown = step.needs.filter((need) => !digests.get(need.step)).map((need) => need.step);
  if (unknown.length > 0)
    return {
      planned: planned('run', `${[...new Set(unknown)].join(' and ')} ${unknown.length === 1 ? 'is' : 'are'} made anew`),
      digest: null,
    };
  const inputs = Object.fromEntries([
    ...step.needs.map((need) => [need.role, digests.get(need.step) ?? '']),
    ...givenTo(step, submission.weights).map(({ role, sha256 }) => [role, sha256]),
  ]);
  const parts = memoParts(step, ctx.codeDigests[step.kind], inputs, submission.dataset.digest);
  const found = await ctx.prisma.artifact.findFirst({
    where: { projectId, memoKey: memoKeyOf(parts), state: { in: ['ready', 'building'] } },
  });
  if (found?.state === 'ready') return { planned: planned('reuse', `made by run ${found.runId}`), digest: found.digest };
  if (found) return { planned: planned('wait-for-same', `run ${found.runId} is making it now`), digest: null };
  return { planned: planned('run', await nearestDifference(ctx, step, parts, projectId)), digest: null };
}

/** In which part the key differs from the newest result of the same step. */
async function nearestDifference(ctx: EngineContext, step: StepPlan, parts: MemoParts, projectId: string): Promise<string> {
  const nearest = await ctx.prisma.artifact.findFirst({
    where: { projectId, stepName: step.name, kind: artifactKinds[step.kind].kind, state: 'ready' },
    orderBy: { createdAt: 'desc' },
    select: { memoParts: true, runId: true },
  });
  if (!nearest) return 'it was never made before';
  return `${explainDifference(parts, nearest.memoParts as MemoParts)} (compared with run ${nearest.runId})`;
}
