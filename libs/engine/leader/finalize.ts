import { type ArtifactKind, artifactKind, type FailureView, registrationDetails, type StoredFile, toldFailure } from '@cairn/contract';
import { mayReuse, stepKinds } from '@cairn/domain';
import { newId } from '@cairn/runtime';
import { recordFailure } from '../attempts/failure.ts';
import { stagingPrefix } from '../attempts/spec.ts';
import { detailsColumn, filesColumn, givenColumn, memoPartsColumn, needsColumn, resultColumn } from '../columns.ts';
import type { EngineContext } from '../context.ts';
import { toJson } from '../json.ts';
import { memoKeyOf } from '../memo.ts';
import { changeStep, emit, type RunWork, type WorkStep } from '../run-work.ts';
import { withRun } from '../with-run.ts';

/** What is to be copied out of staging to make an artifact. */
export type Finalization = {
  runId: string;
  stepId: string;
  generation: number;
  artifactId: string;
  kind: ArtifactKind;
  prefix: string;
  /** Of the artifact's row: a finalizing that runs again writes the same manifest. */
  createdAt: Date;
  files: StoredFile[];
  details: Record<string, unknown>;
  /** For features: what the files must account for. */
  extraction: { list: string; listsArtifact: string; rows: number; rejected: number; shards: number } | null;
};

/** The finalization a step waits for, or null when there is none (any more). */
export async function pendingFinalization(ctx: EngineContext, stepId: string, generation: number): Promise<Finalization | null> {
  const step = await ctx.prisma.step.findUnique({
    where: { id: stepId },
    include: {
      artifact: true,
      attempts: { where: { stepGeneration: generation, state: 'succeeded' }, orderBy: { ordinal: 'desc' } },
      shards: { orderBy: { index: 'asc' } },
    },
  });
  if (!step || step.generation !== generation || step.state !== 'active' || step.artifact?.state !== 'building') return null;
  const { id: artifactId, prefix, createdAt } = step.artifact;
  const common = { runId: step.runId, stepId, generation, artifactId, kind: artifactKind.parse(step.artifact.kind), prefix, createdAt };
  if (step.shardsTotal === null) {
    const result = resultColumn.safeParse(step.attempts[0]?.result);
    return result.success ? { ...common, ...result.data, extraction: null } : null;
  }
  if (step.shardsCommitted < step.shardsTotal) return null;
  const files = step.shards.flatMap((shard) => filesColumn.parse(shard.files));
  const listsArtifact = await listsOf(ctx, step);
  const list = String((detailsColumn.parse(step.settings) as { list?: unknown }).list);
  const counts = { rows: step.rows, rejected: step.rejected, shards: step.shardsTotal };
  return { ...common, files, details: { list, ...counts }, extraction: { list, listsArtifact, ...counts } };
}

/** The artifact that a step reads its lists from: of a step of its run, or from outside. */
async function listsOf(
  { prisma }: EngineContext,
  { runId, needs, given }: { runId: string; needs: unknown; given: unknown },
): Promise<string> {
  const outside = givenColumn.parse(given).find(({ role }) => role === 'lists');
  if (outside !== undefined) return outside.artifactId;
  const name = needsColumn.parse(needs).find(({ role }) => role === 'lists')?.step ?? '';
  return (await prisma.step.findUnique({ where: { runId_name: { runId, name } }, select: { artifactId: true } }))?.artifactId ?? '';
}

/** The artifact is whole and its manifest written: it exists from now on, for this run and for every one that waits for it. */
export async function artifactReady(
  ctx: EngineContext,
  finalization: Finalization,
  result: { digest: string; files: { name: string; bytes: number; sha256: string }[]; details: Record<string, unknown> },
): Promise<void> {
  await withRun(ctx, finalization.runId, async (run) => {
    const step = run.steps.find((candidate) => candidate.id === finalization.stepId);
    if (
      !step ||
      step.generation !== finalization.generation ||
      step.artifact?.id !== finalization.artifactId ||
      step.artifact.state !== 'building'
    )
      return;
    if (step.state !== 'active') return;
    const memoKey = await takeMemoPlace(run, step);
    await run.tx.artifact.update({
      where: { id: finalization.artifactId, state: 'building' },
      data: {
        state: 'ready',
        memoKey,
        digest: result.digest,
        files: toJson(result.files),
        details: toJson(result.details),
        bytes: result.files.reduce((sum, file) => sum + file.bytes, 0),
        readyAt: new Date(),
      },
    });
    step.artifact = { ...step.artifact, state: 'ready', digest: result.digest, memoKey };
    if (step.kind === 'register') await registerModel(run, step, step.settings.model, result.details);
    const waiting = await run.tx.step.findMany({ where: { artifactId: finalization.artifactId, state: 'ready' }, select: { runId: true } });
    for (const other of waiting) run.alsoSettle.add(other.runId);
  });
}

/** A result built with reuse switched off takes the memo's place from the one before it; a registration is never a memo. */
async function takeMemoPlace(run: RunWork, step: WorkStep): Promise<string | null> {
  if (!stepKinds[step.kind].reusable) return null;
  if (mayReuse(step, run.noReuse)) return step.artifact?.memoKey ?? null;
  const { memoParts } = await run.tx.artifact.findUniqueOrThrow({ where: { id: step.artifact?.id ?? '' }, select: { memoParts: true } });
  const memoKey = memoKeyOf(memoPartsColumn.parse(memoParts));
  const building = await run.tx.artifact.count({ where: { projectId: run.projectId, memoKey, state: 'building' } });
  if (building > 0) return step.artifact?.memoKey ?? null;
  await run.tx.artifact.updateMany({ where: { projectId: run.projectId, memoKey, state: 'ready' }, data: { memoKey: null } });
  return memoKey;
}

async function registerModel(run: RunWork, step: WorkStep, name: string, details: Record<string, unknown>): Promise<void> {
  // The name's rows are numbered one after another, also when two runs register at once.
  await run.tx.$executeRaw`select pg_advisory_xact_lock(hashtext(${`model ${run.projectId} ${name}`}))`;
  const newest = await run.tx.model.findFirst({
    where: { projectId: run.projectId, name },
    orderBy: { version: 'desc' },
    select: { version: true },
  });
  const version = (newest?.version ?? 0) + 1;
  const artifacts = Object.fromEntries([
    ...step.needs.map((need) => [need.role, run.steps.find((candidate) => candidate.name === need.step)?.artifact?.id ?? '']),
    ...step.given.map(({ role, artifactId }) => [role, artifactId]),
  ]);
  await run.tx.model.create({
    data: {
      id: newId('model'),
      projectId: run.projectId,
      owner: run.owner,
      name,
      version,
      runId: run.id,
      stepId: step.id,
      artifacts,
      metrics: registrationDetails.parse(details).metrics,
    },
  });
  emit(run, 'note', `model ${name} version ${version} is registered`, { model: name, version });
}

/** What was staged cannot become an artifact: the step starts over with the failure charged to it. */
export async function finalizationFailed(ctx: EngineContext, finalization: Finalization, seen: FailureView): Promise<void> {
  const failure = toldFailure.parse(seen);
  await withRun(ctx, finalization.runId, async (run) => {
    const step = run.steps.find((candidate) => candidate.id === finalization.stepId);
    if (!step || step.generation !== finalization.generation || step.state !== 'active') return;
    recordFailure(run, step, failure);
    changeStep(run, step, { generation: step.generation + 1 });
    step.attempts = [];
    if (step.shardsTotal !== null) {
      await run.tx.shard.updateMany({
        where: { stepId: step.id },
        data: { state: 'pending', attemptId: null, leaseUntil: null, rows: null, rejected: null, files: [] },
      });
      changeStep(run, step, { shardsCommitted: 0, rows: 0, rejected: 0 });
    }
    emit(run, 'note', `${step.name}: ${failure.message}`, { step: step.name, level: 'warning', said: failure.message });
  });
}

/** Steps that are whole but not final: the reconciler asks for their finalizing again. */
export async function stepsToFinalize(ctx: EngineContext): Promise<{ stepId: string; generation: number }[]> {
  return ctx.prisma.$queryRaw<{ stepId: string; generation: number }[]>`
    select s.id as "stepId", s.generation from step s join artifact a on a.id = s.artifact_id and a.state = 'building'
    where s.state = 'active' and ((s.shards_total is not null and s.shards_committed >= s.shards_total)
      or (s.shards_total is null and exists (select 1 from attempt t where t.step_id = s.id and t.step_generation = s.generation and t.state = 'succeeded')))`;
}

/** A step's result was copied: its attempts' staging folders can go, and their checkpoints with them. Answers the folders. */
export async function dropStaging(ctx: EngineContext, stepId: string): Promise<{ attemptId: string; prefix: string }[]> {
  const attempts = await ctx.prisma.attempt.findMany({ where: { stepId, endedAt: { not: null } }, select: { id: true } });
  await ctx.prisma.checkpoint.deleteMany({ where: { attemptId: { in: attempts.map((attempt) => attempt.id) } } });
  return attempts.map(({ id }) => ({ attemptId: id, prefix: stagingPrefix(id) }));
}
