import { z } from 'zod';
import { idOf, timestamp } from './names.ts';
import type { HoldCause } from './origin.ts';
import {
  allowsAction,
  attemptCause,
  attemptPurpose,
  attemptState,
  type RunAction,
  type RunState,
  runAction,
  statesThatAllow,
  stepKind,
  stepState,
} from './states.ts';

// What the views of runs and steps say beyond their states.

/** What a step waits for: another step, or an attempt that holds the places. */
export const blocker = z.object({
  run: z.object({ id: idOf('run'), name: z.string() }),
  step: z.string(),
  /** Null for a step without an attempt that holds places. */
  attemptId: idOf('attempt').nullable(),
  /** The slots that the attempt holds. */
  slots: z.number().int().nullable(),
});
export type Blocker = z.infer<typeof blocker>;
/** Most blockers of a step that are listed. */
export const maxBlockers = 20;

/** An action on a run, or from one of its steps. `why` says why it is not allowed now. What the caller's role allows: GET /v1/me. */
export const actionView = z.object({ action: runAction, isAllowed: z.boolean(), why: z.string().nullable() });
export type ActionView = z.infer<typeof actionView>;

const actionWords = { cancel: 'cancelled', retry: 'retried', release: 'released' } as const satisfies Record<RunAction, string>;

/** Why a run in this state cannot be cancelled, retried or released, as the end of a sentence; null when it can. */
export function whyNotAllowed(state: RunState, action: RunAction): string | null {
  if (allowsAction(state, action)) return null;
  const states = statesThatAllow(action);
  const others = states.length > 1 ? `${states.slice(0, -1).join(', ')} or ` : '';
  return `is ${state}; only a run that is ${others}${states.at(-1)} can be ${actionWords[action]}`;
}

/** The actions on a run in this state, which `hold` holds. From a step, `retry` alone. */
export const actionsIn = (
  state: RunState,
  { actions = runAction.options, hold = null }: { actions?: readonly RunAction[]; hold?: HoldCause | null } = {},
): ActionView[] =>
  actions.map((action) => {
    const isBehind = action === 'release' && state === 'held' && hold === 'group';
    const why = isBehind ? 'waits for another run of its concurrency group, and starts by itself' : whyNotAllowed(state, action);
    return { action, isAllowed: why === null, why: why === null ? null : `the run ${why}` };
  });

/** A failure as people need it: what happened, to which thing, why, what was done about it and what to do. */
export const failureCard = z.object({
  /** A code of the error table, or one that a later release wrote. */
  code: z.string(),
  cause: attemptCause,
  /** Such as `Out of memory`. */
  title: z.string(),
  /** In the words of the program that failed or of the executor; may have several lines. */
  message: z.string(),
  /** The newest attempt that failed other than by preemption, else the newest that ran; null where none did. */
  attempt: z
    .object({ id: idOf('attempt'), ordinal: z.number().int(), place: z.string().nullable(), endedAt: timestamp.nullable() })
    .nullable(),
  /** What was done about it, in sentences. */
  done: z.array(z.string()),
  /** What to do. */
  remedy: z.string(),
  fix: z.enum(['caller', 'operator', 'data owner', 'cairn']).describe('Who can fix it.'),
});
export type FailureCard = z.infer<typeof failureCard>;

/** Most attempts of a timeline: the newest of a larger run. */
export const maxTimelineAttempts = 2_000;

/** GET /v1/runs/:id/timeline: what happened when, the steps in order and their attempts by time. */
export const runTimeline = z.object({
  /** The time of the answer, by the service's clock: where open bars end. */
  asOf: timestamp,
  startedAt: timestamp.nullable(),
  finishedAt: timestamp.nullable(),
  steps: z.array(
    z.object({
      id: idOf('step'),
      name: z.string(),
      kind: stepKind,
      state: stepState,
      createdAt: timestamp,
      readyAt: timestamp.nullable(),
      startedAt: timestamp.nullable(),
      finishedAt: timestamp.nullable(),
    }),
  ),
  attempts: z.array(
    z.object({
      id: idOf('attempt'),
      step: z.string(),
      ordinal: z.number().int(),
      purpose: attemptPurpose,
      state: attemptState,
      pool: z.string(),
      slots: z.number().int(),
      place: z.string().nullable(),
      createdAt: timestamp,
      startedAt: timestamp.nullable(),
      endedAt: timestamp.nullable(),
      /** How it ended, if it failed; the first line of the message. */
      failure: z.object({ cause: attemptCause, code: z.string(), message: z.string() }).nullable(),
      /** Why it was asked to stop. */
      stopReason: z.string().nullable(),
      resumedFrom: z.object({ step: z.number().int(), epoch: z.number() }).nullable(),
    }),
  ),
  /** Of the run; `attempts` has at most 2,000, the newest. */
  attemptsTotal: z.number().int(),
});
export type RunTimeline = z.infer<typeof runTimeline>;
type TimelineStep = RunTimeline['steps'][number];
type TimelineAttempt = RunTimeline['attempts'][number];

/** From the beginning of a run to its end, or to the time of the answer. */
export function timelineSpan({ steps, attempts, startedAt, finishedAt, asOf }: RunTimeline): { beginMs: number; endMs: number } {
  const times = attempts.flatMap((attempt) => [attempt.createdAt, attempt.startedAt, attempt.endedAt]);
  const known = [...times, startedAt, ...steps.map(({ readyAt }) => readyAt)].flatMap((at) => (at === null ? [] : [Date.parse(at)]));
  const end = Date.parse(finishedAt ?? asOf);
  const beginMs = Math.min(end, ...known);
  return { beginMs, endMs: Math.max(finishedAt === null ? end : Math.max(end, ...known), beginMs + 1) };
}

/**
 * From when the dependencies of a step were done until its first attempt was made: it waited for room. `to` is null while it waits.
 *
 * @param attempts of the step
 */
export function waitForRoom(
  { readyAt, state }: TimelineStep,
  attempts: readonly Pick<TimelineAttempt, 'createdAt'>[],
): { from: string; to: string | null } | null {
  if (readyAt === null) return null;
  // A retry makes a step ready again after its earlier attempts.
  const after = attempts.map(({ createdAt }) => createdAt).filter((at) => Date.parse(at) >= Date.parse(readyAt));
  const [to = null] = after.sort();
  return to !== null || state === 'ready' ? { from: readyAt, to } : null;
}
