import { type ArtifactKind, artifactKind, type FailureView, maxListedFiles, registrationDetails, reportedFailure } from '@cairn/contract';
import { mayReuse, stepKinds } from '@cairn/domain';
import { newId } from '@cairn/runtime';
import type { z } from 'zod';
import { recordFailure } from './attempts/lifecycle.ts';
import { stagingPrefix } from './attempts/spec.ts';
import { memoPartsColumn, resultColumn, toJson } from './columns.ts';
import type { EngineContext } from './engine.ts';
import { memoKeyOf } from './memo.ts';
import { writePending } from './pending-writes.ts';
import { changeStep, emit, type RunWork, replaceResult, type WorkStep } from './run-work.ts';
import { withRun } from './with-run.ts';

/** The files and details that a successful attempt reported. */
type Result = z.infer<typeof resultColumn>;

/** What must be copied out of staging to make the artifact of a step that one attempt did. An attempt makes a fleet's artifact. */
export type Finalization = {
  runId: string;
  stepId: string;
  generation: number;
  artifactId: string;
  kind: ArtifactKind;
  prefix: string;
  /** Creation time of the artifact's row, so that a repeated finalizing writes the same manifest. */
  createdAt: Date;
} & Result;

/** The finalization that a step waits for, or null when there is none, or none any longer. */
export async function pendingFinalization(ctx: EngineContext, stepId: string, generation: number): Promise<Finalization | null> {
  const step = await ctx.prisma.step.findUnique({
    where: { id: stepId, generation, state: 'active', finalizing: true, shardsTotal: null },
    select: {
      runId: true,
      artifact: { select: { id: true, kind: true, state: true, prefix: true, createdAt: true } },
      attempts: {
        where: { stepGeneration: generation, state: 'succeeded' },
        orderBy: { ordinal: 'desc' },
        take: 1,
        select: { result: true },
      },
    },
  });
  if (step?.artifact?.state !== 'building') return null;
  const { id: artifactId, prefix, createdAt, kind } = step.artifact;
  const result = resultColumn.safeParse(step.attempts[0]?.result);
  if (!result.success) return null;
  return { runId: step.runId, stepId, generation, artifactId, kind: artifactKind.parse(kind), prefix, createdAt, ...result.data };
}

/** Marks an artifact as ready once its manifest is written: it now exists, for this run and for every run that waits for it. */
export async function artifactReady(
  ctx: EngineContext,
  finalization: Finalization,
  result: { digest: string; files: { name: string; bytes: number; sha256: string }[]; details: Record<string, unknown> },
): Promise<void> {
  await withFinalizing(ctx, finalization, async (run, step) => {
    const { digest, files, details } = result;
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    await makeReady(run, step, {
      digest,
      files: files.length > maxListedFiles ? [] : files,
      fileCount: files.length,
      bytes,
      details,
    });
    if (step.kind === 'register') await registerModel(run, step, step.settings.model, details);
  });
}

/** Runs `work` only if the step still waits for this finalization: a cancel, a retry or another controller may have been faster. */
async function withFinalizing(
  ctx: EngineContext,
  { runId, stepId, generation, artifactId }: Finalization,
  work: (run: RunWork, step: WorkStep) => Promise<void>,
): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    const step = run.steps.find((candidate) => candidate.id === stepId);
    if (step?.generation !== generation || step.state !== 'active' || !step.finalizing) return;
    if (step.artifact?.id === artifactId && step.artifact.state === 'building') await work(run, step);
  });
}

async function registerModel(run: RunWork, step: WorkStep, name: string, details: Record<string, unknown>): Promise<void> {
  // Versions of a name are numbered in sequence, even when two runs register at the same time.
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
  emit(run, 'note', `registered model ${name} version ${version}`, { model: name, version });
}

/** The staged files cannot become an artifact: the step starts over, and the failure is charged to it. */
export async function finalizationFailed(ctx: EngineContext, finalization: Finalization, seen: FailureView): Promise<void> {
  const failure = reportedFailure.parse(seen);
  await withFinalizing(ctx, finalization, async (run, step) => {
    recordFailure(run, step, failure);
    step.attempts = [];
    changeStep(run, step, { generation: step.generation + 1, finalizing: false });
    await replaceArtifact(run, step);
    emit(run, 'note', `${step.name}: ${failure.message}`, { step: step.name, level: 'warning', said: failure.message });
  });
}

/** The storage cannot read or write the staged files: charged to the step and retried with a growing delay. */
export async function finalizationDelayed(ctx: EngineContext, finalization: Finalization, seen: FailureView): Promise<void> {
  const failure = reportedFailure.parse(seen);
  await withFinalizing(ctx, finalization, async (run, step) => {
    recordFailure(run, step, failure);
    const message = `cannot store its result: ${failure.message}`;
    emit(run, 'note', `${step.name}: ${message}`, { step: step.name, level: 'warning', said: message });
  });
}

/** Steps that controllers must finalize: the leader queues them again, since an entry may be lost. */
export async function stepsToFinalize(ctx: EngineContext): Promise<{ stepId: string; generation: number }[]> {
  return ctx.prisma.$queryRaw<{ stepId: string; generation: number }[]>`
    select s.id as "stepId", s.generation from step s join artifact a on a.id = s.artifact_id and a.state = 'building'
    where s.state = 'active' and s.finalizing and s.shards_total is null and (s.not_before is null or s.not_before <= now())`;
}

/**
 * Once a step's result is stored, the staging folders of its attempts can be removed, and their checkpoints with them. Returns the folders.
 */
export async function dropStaging(
  ctx: EngineContext,
  stepId: string,
  generation: number,
): Promise<{ attemptId: string; prefix: string }[]> {
  const attempts = await ctx.prisma.attempt.findMany({
    where: { stepId, endedAt: { not: null }, step: { generation, state: 'succeeded' } },
    select: { id: true },
  });
  await ctx.prisma.checkpoint.deleteMany({ where: { attemptId: { in: attempts.map((attempt) => attempt.id) } } });
  return attempts.map(({ id }) => ({ attemptId: id, prefix: stagingPrefix(id) }));
}

type ReadyResult = {
  digest: string;
  files: readonly { name: string; bytes: number; sha256: string }[];
  fileCount: number;
  bytes: number;
  /** Defaults to those of the row. */
  details?: Record<string, unknown>;
};

/** Marks the step's artifact as ready once its manifest is written: it now exists, for this run and for every run that waits for it. */
export async function makeReady(run: RunWork, step: WorkStep, { digest, files, fileCount, bytes, details }: ReadyResult): Promise<void> {
  const { artifact } = step;
  if (artifact?.state !== 'building') return;
  const memoKey = await takeMemoPlace(run, step);
  await run.tx.artifact.update({
    where: { id: artifact.id, state: 'building' },
    data: {
      state: 'ready',
      memoKey,
      digest,
      files: toJson(files),
      fileCount,
      ...(details && { details: toJson(details) }),
      bytes,
      readyAt: new Date(),
    },
  });
  replaceResult(run, artifact.id, { ...artifact, state: 'ready', digest, memoKey });
  const waiting = await run.tx.step.findMany({ where: { artifactId: artifact.id, state: 'ready' }, select: { runId: true } });
  for (const other of waiting) run.alsoSettle.add(other.runId);
}

/** A result built without reuse takes over the memo key from the previous result; a registration is never reused. */
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

/**
 * Gives the step's result a new id, and with it a new prefix in the object store: its files will differ, and a finalizing of the old ones,
 * which may still be writing, must not overwrite them. The files under the old prefix are garbage.
 */
export async function replaceArtifact(run: RunWork, step: WorkStep): Promise<void> {
  const { artifact } = step;
  if (artifact?.state !== 'building') return;
  const id = newId('artifact');
  const prefix = `${stepKinds[step.kind].folder}/${id}/`;
  // The following statements read and change the tables.
  await writePending(run.tx, run, run.pending);
  await run.tx.artifact.update({ where: { id: artifact.id, state: 'building' }, data: { state: 'deleting' } });
  await run.tx.$executeRaw`
    insert into artifact (id, project_id, kind, state, memo_key, memo_parts, prefix, run_id, step_name)
    select ${id}, project_id, kind, 'building', memo_key, memo_parts, ${prefix}, run_id, step_name from artifact where id = ${artifact.id}`;
  await run.tx.$executeRaw`update step set artifact_id = ${id} where artifact_id = ${artifact.id}`;
  changeStep(run, step, { artifact: { ...artifact, id } });
  replaceResult(run, artifact.id, { ...artifact, id });
}
