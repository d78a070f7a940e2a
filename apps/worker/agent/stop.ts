import type { FinishRequest } from '@cairn/contract';
import { failure } from './failure.ts';

export type StopRequest = { reason: string; graceSeconds: number };

/** The reason of a stop that the attempt asks of itself. */
export const deadlineReason = 'it ran as long as its pool allows';

/** The reason of an aborted wait when the attempt was asked to stop. */
export class StopError extends Error {
  constructor(reason: string) {
    super(`the attempt was asked to stop: ${reason}`);
    this.name = 'StopError';
  }
}

/**
 * How one attempt is ended from outside. `asked` is aborted when it should save what it can and end; `ended` when it is
 * over for the control plane and must end at once, writing nothing more (then `asked` is aborted too).
 */
export function createStop(now: () => number = Date.now) {
  const asked = new AbortController();
  const ended = new AbortController();
  let request: { reason: string; deadline: number } | null = null;

  return {
    asked: asked.signal,
    ended: ended.signal,
    /** Again with a nearer deadline shortens the grace; a reason to cancel replaces any other. */
    ask({ reason, graceSeconds }: StopRequest): void {
      const deadline = now() + graceSeconds * 1000;
      const isKept = request !== null && (isCancel(request.reason) || !isCancel(reason));
      request = {
        reason: isKept && request !== null ? request.reason : reason,
        deadline: Math.min(deadline, request?.deadline ?? Number.POSITIVE_INFINITY),
      };
      asked.abort(new StopError(reason));
    },
    end(error: unknown): void {
      asked.abort(error);
      ended.abort(error);
    },
    /** What is left of the grace, in milliseconds; without a request there is no limit. */
    remainingMs: () => (request === null ? Number.POSITIVE_INFINITY : Math.max(0, request.deadline - now())),
    /** How an attempt that stopped ends: `cancelled` when that was the reason, `failed` at its deadline, else `preempted`. */
    outcome(how: string): FinishRequest {
      const reason = request?.reason ?? 'its program was asked to stop';
      if (reason === deadlineReason) return failure('deadline', 'deadline_exceeded', `${how} (${reason})`);
      return { outcome: isCancel(reason) ? 'cancelled' : 'preempted', message: `${how} (${reason})` };
    },
  };
}
export type Stop = ReturnType<typeof createStop>;

function isCancel(reason: string): boolean {
  return /^cancel/i.test(reason);
}
