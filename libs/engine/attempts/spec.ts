import {
  type AttemptSpec,
  type AttemptState,
  agreedProtocol,
  attemptSpec as attemptSpecSchema,
  CairnError,
  type FailureView,
  type InputArtifact,
  imageSource,
  inputArtifact,
  isLiveAttempt,
  maxListedFiles,
  oldestProtocol,
  protocol,
  type ResumePoint,
  type StoredFile,
} from '@cairn/contract';
import type { PrismaClient, Transaction } from '@cairn/db';
import { exhaustedCause, retryDelayMs, stepKinds } from '@cairn/domain';
import {
  artifactFilesColumn,
  datasetFilesColumn,
  detailsColumn,
  type Given,
  givenColumn,
  needsColumn,
  states,
  stopCauseColumn,
} from '../columns.ts';
import { readEarlier } from '../earlier-features.ts';
import type { EngineContext } from '../engine.ts';
import { changeStep, type RunWork, type WorkStep } from '../run-work.ts';

/** The prefix below which an attempt writes: everything below it is its own, and nothing else. */
export const stagingPrefix = (attemptId: string): string => `staging/${attemptId}/`;

/** Where files of an attempt are kept for people when its staging folder is removed: TensorBoard event files. */
export const logsPrefix = (attemptId: string): string => `logs/${attemptId}/`;

/** Most checkpoints that are offered to resume from, newest first. */
const maxResumePoints = 5;

/** The work of an attempt: its settings, its inputs with their digests, and the checkpoints that it may resume from. */
export async function attemptSpec(ctx: EngineContext, attemptId: string, generation: number, agentProtocol: number): Promise<AttemptSpec> {
  const attempt = await liveAttempt(ctx.prisma, attemptId, generation);
  const agreed = agreedProtocol(agentProtocol);
  if (agreed === null) throw tooOld(agentProtocol);
  const finalizes = attempt.purpose === 'finalize';
  const step = await ctx.prisma.step.findUniqueOrThrow({
    where: { id: attempt.stepId },
    include: {
      artifact: { select: { id: true, kind: true, prefix: true, createdAt: true, details: true, memoKey: true } },
      run: { include: { dataset: true } },
    },
  });
  const { resumes } = stepKinds[states.kind.parse(step.kind)];
  const resume = resumes && step.artifact?.memoKey ? await resumePoints(ctx, step.artifact.memoKey) : [];
  return attemptSpecSchema.parse({
    protocol: agreed,
    attempt: { id: attempt.id, ordinal: attempt.ordinal, generation: attempt.generation },
    run: { id: step.run.id, name: step.run.name },
    step: { id: step.id, name: step.name },
    kind: finalizes ? 'finalize' : step.kind,
    settings: step.settings,
    ...(finalizes && { artifact: { ...step.artifact, createdAt: step.artifact?.createdAt.toISOString() }, shards: step.shardsTotal }),
    inputs: finalizes ? {} : await loadInputs(ctx, step.runId, needsColumn.parse(step.needs), givenColumn.parse(step.given)),
    source: imageSource.parse(step.run.dataset.source),
    registered: datasetFilesColumn.parse(step.run.dataset.files),
    stagingPrefix: stagingPrefix(attempt.id),
    resume,
    ...(step.kind === 'extract' && !finalizes && { earlier: await readEarlier(ctx.prisma, step) }),
    ...ctx.limits,
  });
}

function tooOld(agentProtocol: number): CairnError {
  const supported = oldestProtocol === protocol ? `${protocol}` : `${oldestProtocol} and ${protocol}`;
  return new CairnError('protocol_mismatch', `The agent uses protocol ${agentProtocol}, the control plane supports ${supported}`, {
    details: { agentProtocol, oldestProtocol, protocol },
  });
}

async function loadInputs(
  ctx: EngineContext,
  runId: string,
  needs: { role: string; step: string }[],
  given: Given[],
): Promise<Record<string, InputArtifact>> {
  const steps = await ctx.prisma.step.findMany({
    where: { runId, name: { in: needs.map((need) => need.step) } },
    select: { name: true, artifact: true },
  });
  const imported = await ctx.prisma.artifact.findMany({ where: { id: { in: given.map((one) => one.artifactId) } } });
  const inputs: Record<string, InputArtifact> = {};
  for (const need of needs) inputs[need.role] = inputOf(steps.find((step) => step.name === need.step)?.artifact);
  for (const { role, artifactId } of given) inputs[role] = inputOf(imported.find((artifact) => artifact.id === artifactId));
  return inputs;
}

function inputOf(artifact: { files: unknown; fileCount: number; details: unknown } | null | undefined): InputArtifact {
  const files = artifactFilesColumn.parse(artifact?.files);
  return inputArtifact.parse({
    ...artifact,
    // The previous release stored any number of files in the row.
    files: files.length > maxListedFiles ? [] : files,
    fileCount: Math.max(files.length, artifact?.fileCount ?? 0),
    details: detailsColumn.parse(artifact?.details),
  });
}

/** Checkpoints of the same computation (memo key), newest first, including those of an earlier, interrupted run. */
async function resumePoints(ctx: EngineContext, memoKey: string): Promise<ResumePoint[]> {
  const rows = await ctx.prisma.checkpoint.findMany({
    where: { memoKey, removedAt: null },
    orderBy: [{ step: 'desc' }, { createdAt: 'desc' }],
    take: maxResumePoints,
  });
  return rows.map((row) => ({ id: row.id, key: row.key, bytes: Number(row.bytes), sha256: row.sha256, step: row.step, epoch: row.epoch }));
}

/**
 * Rejects files that make no artifact, or that another attempt wrote: the control plane copies them with permissions that the attempt does
 * not have.
 *
 * @throws CairnError `invalid_request`
 */
export function refuseForeignFiles(attemptId: string, files: readonly StoredFile[]): void {
  const names = new Set<string>();
  for (const { name, key } of files) {
    refuseForeignKey(attemptId, key);
    if (names.has(name)) throw new CairnError('invalid_request', `attempt ${attemptId} has two files named ${name}`);
    names.add(name);
  }
}

/** @throws CairnError `invalid_request` */
export function refuseForeignKey(attemptId: string, key: string): void {
  const prefix = stagingPrefix(attemptId);
  if (!key.startsWith(prefix))
    throw new CairnError('invalid_request', `the object ${key} is not below ${prefix}, the prefix of attempt ${attemptId}`);
}

/**
 * The live attempt that a token and its generation identify.
 *
 * @throws CairnError `superseded` when it has ended or another generation replaced it: its process stops, and its files are not used
 */
export async function liveAttempt(db: PrismaClient | Transaction, attemptId: string, generation: number) {
  const attempt = await attemptNow(db, attemptId);
  requireLive(attempt, generation);
  return attempt;
}

/** @throws CairnError `superseded` as {@link liveAttempt} */
export function requireLive({ id, ...attempt }: { id: string; generation: number; state: AttemptState }, generation: number): void {
  if (attempt.generation !== generation) throw superseded(id, `generation ${generation} was replaced by ${attempt.generation}`);
  if (!isLiveAttempt(attempt.state)) throw superseded(id, `it is ${attempt.state}`);
}

/** @throws CairnError `not_found` */
export async function attemptNow(db: PrismaClient | Transaction, attemptId: string) {
  const attempt = await db.attempt.findUnique({ where: { id: attemptId } });
  if (!attempt) throw noAttempt(attemptId);
  return { ...attempt, state: states.attempt.parse(attempt.state), stopCause: stopCauseColumn.parse(attempt.stopCause) };
}

export const noAttempt = (attemptId: string): CairnError => new CairnError('not_found', `attempt ${attemptId} not found`);

export const superseded = (attemptId: string, why: string): CairnError =>
  new CairnError('superseded', `attempt ${attemptId} must stop: ${why}`);

/** Charges a failure to the retry budget of its cause and sets the time before which the step is not retried. */
export function recordFailure(run: RunWork, step: WorkStep, failure: FailureView): void {
  // The step has already failed: later failures of its other attempts are not the reason.
  if (exhaustedCause(step.failures) !== null) return;
  const nth = (step.failures[failure.cause] ?? 0) + 1;
  changeStep(run, step, {
    failures: { ...step.failures, [failure.cause]: nth },
    failure,
    notBefore: new Date(run.now.getTime() + retryDelayMs(failure.cause, nth)),
  });
}
