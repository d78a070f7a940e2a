import { type AttemptCause, attemptCause, type ErrorRow, errorTable, type FailureCard, type FailureView } from '@cairn/contract';
import { type FailureCounts, retryBudgets } from './failure-table.ts';

export type FailureFacts = {
  failure: FailureView;
  /** Failed attempts of the step, by cause. */
  failures: FailureCounts;
  /** The newest attempt that failed, else that ran; `avoidNode`: the machine on whose account it failed. */
  attempt: (NonNullable<FailureCard['attempt']> & { avoidNode: string | null }) | null;
};

/** What failed, what was done about it and what to do, for people. Pure. */
export function describeFailure({ failure, failures, attempt }: FailureFacts): FailureCard {
  const avoided = attempt?.avoidNode ?? null;
  return {
    ...failure,
    ...rowOf(failure.code),
    attempt: attempt && { id: attempt.id, ordinal: attempt.ordinal, place: attempt.place, endedAt: attempt.endedAt },
    done: [
      ...attemptCause.options.flatMap((cause) => retriesAfter(cause, failures[cause] ?? 0)),
      ...(avoided === null ? [] : [`New attempts avoid the node ${avoided}.`]),
    ],
  };
}

/** The row of a code; a later release may have written another one. */
function rowOf(code: string): Pick<ErrorRow, 'title' | 'remedy' | 'fix'> {
  const row: ErrorRow | undefined = isKnown(code) ? errorTable[code] : undefined;
  const { title, remedy, fix } = row ?? { title: code, remedy: 'Read the log of the attempt.', fix: 'operator' as const };
  return { title, remedy, fix };
}

const isKnown = (code: string): code is keyof typeof errorTable => Object.hasOwn(errorTable, code);

/** Failures by cause, in the plural. */
const causeWords = {
  user: 'mistakes in the recipe or the settings',
  data: 'bad data',
  infrastructure: 'infrastructure failures',
  preemption: 'preemptions',
  gpu: 'GPU failures',
  deadline: 'exceeded deadlines',
} as const satisfies Record<AttemptCause, string>;

/** What was done after `count` attempts failed for a cause: one sentence, none if none failed. */
function retriesAfter(cause: AttemptCause, count: number): string[] {
  if (count === 0) return [];
  const { retries } = retryBudgets[cause];
  const words = causeWords[cause];
  if (retries === 0) return [`It was not retried after ${words}, which would fail the same way again.`];
  const times = Math.min(count, retries) === 1 ? 'once' : `${Math.min(count, retries)} times`;
  return [`It was retried ${times} after ${words}${retries === Number.POSITIVE_INFINITY ? '' : ` (at most ${retries} retries)`}.`];
}
