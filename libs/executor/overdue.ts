import type { FailureSignal } from '@cairn/contract';

type Limits = { deadlineSeconds?: number | undefined; graceSeconds: number };

/** For what an agent does before it starts counting its deadline, and after its grace period. */
const marginSeconds = 5;

/**
 * The finding for an attempt that still exists although its deadline and grace period are over. The agent counts them itself, and ends
 * with a checkpoint: this is for one that does not. Pure: times are in milliseconds since the epoch.
 */
export function overdue(
  { deadlineSeconds, graceSeconds }: Limits,
  startedAt: number | null,
  now: number,
): { signal: FailureSignal; since: number; message: string } | null {
  if (deadlineSeconds === undefined || startedAt === null) return null;
  const since = startedAt + (deadlineSeconds + graceSeconds + marginSeconds) * 1000;
  return now < since ? null : { signal: 'deadline_exceeded', since, message: `${deadlineSeconds} s, and its grace period is over` };
}
