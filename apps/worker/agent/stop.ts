import type { FinishRequest, StopCause } from '@cairn/contract';
import { failure } from './failure.ts';

/** Why an attempt stops: at its pool's deadline, by an outside signal that does not say why, or for a cause of the control plane. */
type AgentStopCause = StopCause | 'deadline' | 'interrupted';

export type StopRequest = {
  cause: AgentStopCause;
  /** For people. */
  reason: string;
  graceSeconds: number;
};

/** How an attempt ends for each cause. The cause of the highest rank counts, and the first of equal ones. */
const causes = {
  interrupted: { rank: 0, outcome: 'preempted' },
  preempted: { rank: 1, outcome: 'preempted' },
  deadline: { rank: 1, outcome: 'failed' },
  step_failed: { rank: 1, outcome: 'cancelled' },
  cancelled: { rank: 2, outcome: 'cancelled' },
} as const satisfies Record<AgentStopCause, { rank: number; outcome: FinishRequest['outcome'] }>;

/** The reason of an aborted wait when the attempt was asked to stop. */
export class StopError extends Error {
  constructor(reason: string) {
    super(`the attempt was asked to stop: ${reason}`);
    this.name = 'StopError';
  }
}

/**
 * The end of one attempt from outside. `asked` is aborted when it should save its work and end; `ended` when it is
 * over for the control plane and must end at once without writing anything more (then `asked` is aborted too).
 */
export function createStop(now: () => number = Date.now) {
  const asked = new AbortController();
  const ended = new AbortController();
  let request: { cause: AgentStopCause; reason: string; deadline: number } | null = null;

  return {
    asked: asked.signal,
    ended: ended.signal,
    /** A repeated call with an earlier deadline shortens the grace period. */
    ask({ cause, reason, graceSeconds }: StopRequest): void {
      const kept = request !== null && causes[request.cause].rank >= causes[cause].rank ? request : { cause, reason };
      const deadline = Math.min(now() + graceSeconds * 1000, request?.deadline ?? Number.POSITIVE_INFINITY);
      request = { cause: kept.cause, reason: kept.reason, deadline };
      asked.abort(new StopError(reason));
    },
    end(error: unknown): void {
      asked.abort(error);
      ended.abort(error);
    },
    /** The rest of the grace period, in milliseconds; unlimited without a request. */
    remainingMs: () => (request === null ? Number.POSITIVE_INFINITY : Math.max(0, request.deadline - now())),
    /** How a stopped attempt ends, by the cause. */
    outcome(how: string): FinishRequest {
      const { cause, reason } = request ?? { cause: 'interrupted', reason: 'its program was asked to stop' };
      const { outcome } = causes[cause];
      const message = `${how} (${reason})`;
      return outcome === 'failed' ? failure('deadline', 'deadline_exceeded', message) : { outcome, message };
    },
  };
}
export type Stop = ReturnType<typeof createStop>;

/** Longer timers would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** Asks the attempt to stop when this process has run for `seconds`; never if undefined. Returns the function that cancels it. */
export function enforceDeadline(stop: Pick<Stop, 'ask'>, seconds: number | undefined, graceSeconds: number): () => void {
  if (seconds === undefined) return () => undefined;
  let timer: NodeJS.Timeout | undefined;
  const check = () => {
    const leftMs = seconds * 1000 - performance.now();
    if (leftMs <= 0) stop.ask({ cause: 'deadline', reason: 'it reached the time limit of its pool', graceSeconds });
    else timer = setTimeout(check, Math.min(leftMs, maxTimerMs));
  };
  check();
  return () => clearTimeout(timer);
}
