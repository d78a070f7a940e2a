import { type ArtifactKind, artifactKind, type FailureView, maxListedFiles, registrationDetails, reportedFailure } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import type { z } from 'zod';
import { recordFailure, stagingPrefix } from './attempts/spec.ts';
import { resultColumn } from './columns.ts';
import type { EngineContext } from './engine.ts';
import { makeReady, replaceArtifact } from './memo.ts';
import { changeStep, emit, type RunWork, type WorkStep } from './run-work.ts';
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
 * Once a step's result is stored, the staging folders of its attempts can be removed, and with them the files of their checkpoints. Returns the
 * folders.
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
  const stored = { attemptId: { in: attempts.map((attempt) => attempt.id) }, removedAt: null };
  const now = new Date();
  // The final one was read back as it was copied into the result.
  await ctx.prisma.checkpoint.updateMany({ where: { ...stored, final: true }, data: { verifiedAt: now } });
  await ctx.prisma.checkpoint.updateMany({ where: stored, data: { removedAt: now } });
  return attempts.map(({ id }) => ({ attemptId: id, prefix: stagingPrefix(id) }));
}
