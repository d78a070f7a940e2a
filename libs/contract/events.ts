import { z } from 'zod';
import { budgetState } from './ledger.ts';
import { idOf, timestamp } from './names.ts';
import { attemptCause, attemptState, runState, runVerdict, stepState, stopCause } from './states.ts';

/**
 * The data of an event, by its type. Events of earlier versions are read with these too: what they did not write is optional.
 */
const eventData = {
  /** The run entered a state. */
  run: z.object({ state: runState, cause: z.string().nullish() }),
  /** The step entered a state, or waits for `artifactId`, which another run is building. */
  step: z.object({ step: z.string(), state: stepState.optional(), cause: z.string().nullish(), artifactId: z.string().optional() }),
  /** The attempt entered a state, or resumed from a checkpoint of an earlier one, taken at the optimizer step `at`. */
  attempt: z.object({
    step: z.string().optional(),
    attemptId: z.string().optional(),
    state: attemptState.optional(),
    /** Only when the attempt is asked to stop. */
    stopCause: stopCause.optional(),
    /** Only when the attempt failed. */
    cause: attemptCause.optional(),
    code: z.string().optional(),
    message: z.string().optional(),
    checkpointId: z.string().optional(),
    at: z.number().int().optional(),
  }),
  /** A checkpoint was stored, taken at the optimizer step `at`. */
  checkpoint: z.object({ step: z.string(), at: z.number().int(), epoch: z.number() }),
  evaluation: z.object({ step: z.string(), when: z.enum(['start', 'epoch', 'end']), mapAt100: z.number() }),
  /** A quality gate was judged, or could not be (`none`): `gate` is its text. `alias`: the one that now names the run's model. */
  gate: z.object({ gate: z.string(), verdict: runVerdict, alias: z.string().optional() }),
  /** A budget of the run reached the share to warn at, or is spent. */
  budget: z.object({ scope: z.string(), state: budgetState, usedHours: z.number(), gpuHours: z.number() }),
  /** A message from an attempt (`said`, with a level), an unreadable image, a registered model, or a retry. */
  note: z.object({
    step: z.string().optional(),
    level: z.enum(['info', 'warning']).optional(),
    /** The message without the step before it. */
    said: z.string().optional(),
    imageId: z.string().optional(),
    path: z.string().optional(),
    model: z.string().optional(),
    version: z.number().int().optional(),
  }),
} as const;

export type EventType = keyof typeof eventData;
type ReadEventData = { [Type in EventType]: z.output<(typeof eventData)[Type]> };
/** The data of an event as this version writes it. */
export type EventData = Omit<ReadEventData, 'attempt'> & { attempt: ReadEventData['attempt'] & { step: string; attemptId: string } };

const eventOf = <Type extends EventType>(type: Type) =>
  z.object({
    runId: idOf('run'),
    seq: z.number().int(),
    at: timestamp,
    type: z.literal(type),
    /** One sentence. */
    message: z.string(),
    data: eventData[type],
  });

/** A run's history for people, in order, without gaps. */
export const runEvent = z.discriminatedUnion('type', [
  eventOf('run'),
  eventOf('step'),
  eventOf('attempt'),
  eventOf('checkpoint'),
  eventOf('evaluation'),
  eventOf('gate'),
  eventOf('budget'),
  eventOf('note'),
]);
export type RunEvent = z.infer<typeof runEvent>;
export const runEventPage = z.object({ items: z.array(runEvent), nextSeq: z.number().int() });

/** The name of the step that an event is about; null for one about the run. */
export const stepOfEvent = ({ data }: RunEvent): string | null => ('step' in data ? (data.step ?? null) : null);

/**
 * Topics of GET /v1/events?topics=runs,fleet,run:<id>. The stream's SSE event names: `event` (data: runEvent; only topics
 * run:<id>), `hint` (data: {topic, runId?, stepId?, what}: fetch again), `reset` (data: {topic}: the cursor is too old or
 * carries no position for the topic; fetch everything of it again). The id of each message is a cursor over all topics.
 */
export const topic = z.string().regex(/^(runs|fleet|run:run_[0-9a-hjkmnp-tv-z]{26})$/, 'runs, fleet or run:<id>');
export const hint = z.object({
  topic: z.string(),
  runId: z.string().optional(),
  stepId: z.string().optional(),
  what: z.enum(['run', 'progress', 'metrics', 'logs', 'shards', 'fleet']),
});
export type Hint = z.infer<typeof hint>;
/** `position`, of the topic `runs`: a list that was read with the same one is as new as the stream. */
export const reset = z.object({ topic: z.string(), position: z.string().optional() });
