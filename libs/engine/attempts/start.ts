import type { StartRequest } from '@cairn/contract';
import type { EngineContext } from '../context.ts';
import { changeAttempt, emit } from '../run-work.ts';
import { withRun } from '../with-run.ts';
import { liveAttempt, superseded } from './live-attempt.ts';

/** A process says that it runs the attempt. Saying it again is no change; a second process is refused. */
export async function startAttempt(ctx: EngineContext, attemptId: string, generation: number, request: StartRequest): Promise<void> {
  const { runId } = await liveAttempt(ctx.prisma, attemptId, generation);
  await withRun(ctx, runId, async (run) => {
    const attempt = await liveAttempt(run.tx, attemptId, generation);
    if (attempt.instance === request.instance) return;
    if (attempt.instance !== null) throw superseded(attemptId, 'another process runs it');
    const now = new Date();
    changeAttempt(run, attempt, {
      state: attempt.state === 'stopping' ? 'stopping' : 'running',
      instance: request.instance,
      place: attempt.place ?? `${request.host}, process ${request.pid}`,
      startedAt: now,
      contact: 'ok',
      lastContactAt: now,
    });
    const step = run.steps.find((candidate) => candidate.id === attempt.stepId);
    const brief = step?.attempts.find((candidate) => candidate.id === attemptId);
    if (brief && brief.state !== 'stopping') brief.state = 'running';
    emit(run, 'attempt', `${step?.name} runs: attempt ${attempt.ordinal} on ${request.host}`, {
      step: step?.name,
      attemptId,
      state: 'running',
    });
  });
}
