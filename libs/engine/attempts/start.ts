import { CairnError, type StartRequest } from '@cairn/contract';
import { memoPartsColumn } from '../columns.ts';
import type { EngineContext } from '../context.ts';
import { changeAttempt, emit, findStep, type RunWork, type WorkStep } from '../run-work.ts';
import { withRun } from '../with-run.ts';
import { endAttempt } from './finish.ts';
import { liveAttempt, superseded } from './live-attempt.ts';

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
