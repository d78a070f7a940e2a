import {
  type AttemptState,
  artifactDetails,
  CairnError,
  type FailureView,
  type FinishRequest,
  isLiveAttempt,
  listsDetails,
  type StartRequest,
} from '@cairn/contract';
import { rulesOf, stepKinds } from '@cairn/domain';
import { z } from 'zod';
import { memoPartsColumn } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { finalizedFleet, reopenShards } from '../finalize-fleet.ts';
import { changeAttempt, emit, findStep, type RunWork, type WorkStep } from '../run-work.ts';
import { withRun } from '../with-run.ts';
import { freeShards } from './shards.ts';
import { attemptNow, liveAttempt, recordFailure, refuseForeignFiles, superseded } from './spec.ts';

/**
 * Records the process that runs an attempt. Repeating it changes nothing; a second process is rejected.
 *
 * @throws CairnError `superseded`; `step_version_mismatch` when its step version differs from the one in the step's memo key, which ends
 *   the attempt
 */
export async function startAttempt(ctx: EngineContext, attemptId: string, generation: number, request: StartRequest): Promise<void> {
  const { runId } = await liveAttempt(ctx.prisma, attemptId, generation);
  const refusal = await withRun(ctx, runId, async (run) => {
    const attempt = await liveAttempt(run.tx, attemptId, generation);
    if (attempt.instance === request.instance) return null;
    if (attempt.instance !== null) throw superseded(attemptId, 'another process runs it');
    const step = findStep(run, attempt.stepId);
    const mismatch = await versionMismatch(run, step, request);
    if (mismatch !== null) {
      await endAttempt(run, attempt, 'failed', { cause: 'infrastructure', code: mismatch.code, message: mismatch.message }, null);
      return mismatch;
    }
    const now = new Date();
    changeAttempt(run, attempt, {
      state: attempt.state === 'stopping' ? 'stopping' : 'running',
      instance: request.instance,
      place: attempt.place ?? `${request.host}, process ${request.pid}`,
      startedAt: now,
      contact: 'ok',
      lastContactAt: now,
    });
    const brief = step.attempts.find((candidate) => candidate.id === attemptId);
    if (brief && brief.state !== 'stopping') brief.state = 'running';
    emit(run, 'attempt', `${step.name} runs: attempt ${attempt.ordinal} on ${request.host}`, {
      step: step.name,
      attemptId,
      state: 'running',
    });
    return null;
  });
  if (refusal !== null) throw refusal;
}

/** Why the agent cannot run the step. Any agent may build a result that a release without versions reserved. */
async function versionMismatch(run: RunWork, step: WorkStep, { host, version, stepVersions }: StartRequest): Promise<CairnError | null> {
  if (step.artifact === null) return null;
  const { memoParts } = await run.tx.artifact.findUniqueOrThrow({ where: { id: step.artifact.id }, select: { memoParts: true } });
  const wanted = memoPartsColumn.parse(memoParts).version;
  const own = Object.hasOwn(stepVersions, step.kind) ? stepVersions[step.kind] : undefined;
  if (wanted === null || own === wanted) return null;
  return new CairnError(
    'step_version_mismatch',
    `the worker on ${host} (release ${version}) ${own === undefined ? 'does not report its version' : `has version ${own}`} of the step ${step.kind}; this run needs version ${wanted}`,
    { details: { kind: step.kind, wanted, own: own ?? null } },
  );
}

/**
 * Records how an attempt ended, as it reports itself. Repeating the same report changes nothing.
 *
 * @throws CairnError `superseded`; `invalid_request` for a success whose files make no artifact
 */
export async function finishAttempt(ctx: EngineContext, attemptId: string, generation: number, request: FinishRequest): Promise<void> {
  const { runId } = await attemptNow(ctx.prisma, attemptId);
  await withRun(ctx, runId, async (run) => {
    const attempt = await attemptNow(run.tx, attemptId);
    if (attempt.generation === generation && attempt.state === request.outcome) return;
    if (attempt.generation !== generation || !isLiveAttempt(attempt.state)) throw superseded(attemptId, `it is ${attempt.state}`);
    const step = findStep(run, attempt.stepId);
    const finalizes = attempt.purpose === 'finalize';
    if (finalizes && attempt.stepGeneration === step.generation) {
      if (request.outcome === 'succeeded') await finalizedFleet(run, step, request.details);
      if (request.outcome === 'failed' && request.badShards) await reopenShards(run, step, request.badShards);
    } else if (request.outcome === 'succeeded') {
      refuseForeignFiles(attemptId, request.files);
      if (request.files.length === 0 && step.shardsTotal === null)
        throw new CairnError('invalid_request', `attempt ${attemptId} reports success, but it has no files`);
      if (step.shardsTotal === null) refuseUnfitDetails(run, step, attemptId, request.details);
    }
    const failure = failureOf(request);
    await endAttempt(
      run,
      attempt,
      request.outcome,
      failure,
      request.outcome === 'succeeded' && !finalizes ? { files: request.files, details: request.details } : null,
    );
  });
}

/** Rejects a result whose details lack what later steps need: none of them could start, and the run would hang. */
function refuseUnfitDetails(run: RunWork, { name, kind }: WorkStep, attemptId: string, details: Record<string, unknown>): void {
  const refused = (why: string) => new CairnError('invalid_request', `attempt ${attemptId} reports success, but ${why}`);
  const { makes } = stepKinds[kind];
  const { error } = artifactDetails[makes].safeParse(details);
  if (error) throw refused(`the details of its result (${makes}) are invalid: ${z.prettifyError(error)}`);
  if (makes !== 'lists') return;
  const { lists } = listsDetails.parse(details);
  const wanted = run.steps.flatMap((step) =>
    step.needs
      .filter((need) => need.step === name)
      .flatMap(({ role }) => {
        const reading = rulesOf(step).reads(role);
        return typeof reading === 'object' ? reading.lists : [];
      }),
  );
  const missing = wanted.filter((list) => list !== 'ground_truth' && !Object.hasOwn(lists, list));
  if (missing.length > 0) throw refused(`it did not make the lists ${[...new Set(missing)].join(', ')}, which the run needs`);
}

function failureOf(request: FinishRequest): FailureView | null {
  if (request.outcome === 'failed') return { cause: request.cause, code: request.code, message: request.message };
  if (request.outcome === 'preempted') return { cause: 'preemption', code: 'preempted', message: request.message };
  return null;
}

type EndedAttempt = { id: string; stepId: string; ordinal: number; state: AttemptState };

/** Ends an attempt: its leased shards become free, and its failure is charged. */
export async function endAttempt(
  run: RunWork,
  attempt: EndedAttempt,
  to: Extract<AttemptState, 'succeeded' | 'failed' | 'preempted' | 'cancelled' | 'lost'>,
  failure: FailureView | null,
  result: { files: unknown[]; details: Record<string, unknown> } | null,
): Promise<void> {
  const step = findStep(run, attempt.stepId);
  changeAttempt(run, attempt, { state: to, endedAt: new Date(), ...(failure ? { failure } : {}), ...(result ? { result } : {}) });
  if (step.shardsTotal !== null) {
    const { leaseSeconds } = run.ctx.limits;
    // In the order of a commit, which locks the attempt before its shard.
    await run.tx.$executeRaw`select 1 from attempt where id = ${attempt.id} for update`;
    await freeShards(run.tx, { stepId: step.id, attemptId: attempt.id, index: null, leaseSeconds });
  }
  const brief = step.attempts.find((candidate) => candidate.id === attempt.id);
  // An attempt of an earlier generation of the step does not affect it.
  if (!brief) return;
  brief.state = to;
  if (failure && run.state !== 'cancelling') recordFailure(run, step, failure);
  const why = failure ? ` (${failure.cause}): ${failure.message.split('\n')[0]}` : '';
  emit(run, 'attempt', `${step.name}: attempt ${attempt.ordinal} ${words[to]}${why}`, {
    step: step.name,
    attemptId: attempt.id,
    state: to,
    ...(failure ?? {}),
  });
}

const words = {
  succeeded: 'succeeded',
  failed: 'failed',
  preempted: 'was preempted',
  cancelled: 'was cancelled',
  lost: 'was lost',
} as const;
