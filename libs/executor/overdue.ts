import type { FailureSignal } from '@cairn/contract';

type Limits = { deadlineSeconds?: number | undefined; graceSeconds: number };

/** For what an agent does before it heeds its deadline, and after its grace. */
const marginSeconds = 5;

/**
 * The sign of an attempt that is still there though its deadline and the grace after it are over. The agent counts them itself, and ends
 * with a checkpoint: this is for one that does not. Pure: times are in milliseconds since the epoch.
 */
export function overdue(
  { deadlineSeconds, graceSeconds }: Limits,
  startedAt: number | null,
  now: number,
): { signal: FailureSignal; since: number; message: string } | null {
  if (deadlineSeconds === undefined || startedAt === null) return null;
  const since = startedAt + (deadlineSeconds + graceSeconds + marginSeconds) * 1000;
  return now < since ? null : { signal: 'deadline_exceeded', since, message: `${deadlineSeconds} s, and its grace is over` };
}
