import { z } from 'zod';
import { runNote, runTag } from './annotations.ts';
import { type ErrorCode, errorTable } from './errors.ts';
import { runGate, runGateView } from './gates.ts';
import { datasetReference, fileName, idOf, safeName, sha256Hex, timestamp } from './names.ts';
import { cancelCause, holdCause, labelText, onNewer, runContext, runLabels, runSource } from './origin.ts';
import { recipe, untilSteps } from './recipe.ts';
import { actionView, blocker, failureCard } from './run-detail.ts';
import {
  artifactKind,
  attemptCause,
  attemptPurpose,
  attemptState,
  runState,
  runVerdict,
  shardState,
  stepKind,
  stepPool,
  stepState,
} from './states.ts';
import { writtenText } from './text.ts';

/** The largest request body, in bytes. Images and lists are read from storage, never sent in a request. */
export const maxBodyBytes = 1024 * 1024;

/** RFC 9457 problem document. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  code: z.enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]),
  detail: z.string(),
  remedy: z.string(),
  retry: z.boolean(),
  requestId: z.string(),
  /** Field errors, nearest names and other details. */
  details: z.record(z.string(), z.unknown()).optional(),
});
export type Problem = z.infer<typeof problem>;

/** `limit` and the opaque `cursor` of the previous page. */
export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: writtenText(200).optional(),
});
export const page = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), nextCursor: z.string().nullable() });

// Runs -----------------------------------------------------------------------------------------------------------------

/** The name of a step as the caller gives it; the recipe says which steps exist. */
const stepName = writtenText(100, { least: 1 });

const maxOverrides = 500;

/** POST /v1/runs. */
export const submitRequest = z.strictObject({
  /** Name of a built-in recipe, or a whole recipe. */
  recipe: z.union([writtenText(63, { least: 1 }), recipe]),
  /** `name` or `name@version`; defaults to the recipe's dataset. */
  dataset: datasetReference.optional(),
  name: safeName.optional(),
  /** Overrides by path, such as `stages.512_all.epochs: 2`. */
  set: z
    .record(writtenText(200, { least: 1 }), z.unknown())
    .refine((set) => Object.keys(set).length <= maxOverrides, `at most ${maxOverrides} settings can be overridden`)
    .default({}),
  /** The wanted steps, in place of the recipe's own `until`: the run has these and the steps they need. */
  until: untilSteps.optional(),
  /** Larger runs first. */
  priority: z.number().int().min(-100).max(100).default(0),
  /** Names of steps that run again although their result exists; true for all. */
  noReuse: z.union([z.boolean(), z.array(stepName).max(100)]).default(false),
  /** The commit that it is for. */
  source: runSource.nullable().default(null),
  /** At most 16, such as `team: search`; lists and costs are selected by them. */
  labels: runLabels.default({}),
  /** A concurrency group: one run of it runs at a time, and of those that wait only the newest does. */
  group: safeName.optional(),
  /** What becomes of this run when a newer one enters its group while it runs: `queue` lets it finish, `cancel` cancels it. */
  onNewer: onNewer.default('queue'),
  /** Judged once the run has succeeded. */
  gate: runGate.optional(),
});
export type SubmitRequest = z.infer<typeof submitRequest>;
export type SubmitRequestInput = z.input<typeof submitRequest>;

/** The name of the recipe that a submission names or has. */
export const recipeNameOf = ({ recipe }: Pick<SubmitRequest, 'recipe'>): string => (typeof recipe === 'string' ? recipe : recipe.name);

/** Why a step waits, and for what: one sentence, the same in the API, the CLI and the dashboard. */
export const waitingReason = z.object({
  code: z.enum([
    'dependencies',
    'group',
    'budget',
    'capacity',
    'behind',
    'backoff',
    'same-result-building',
    'launching',
    'pending',
    'finalizing',
    'no-leader',
  ]),
  sentence: z.string(),
  since: timestamp,
});
export type WaitingReason = z.infer<typeof waitingReason>;

export const progressView = z.object({
  done: z.number(),
  total: z.number(),
  unit: z.enum(['steps', 'images', 'rows', 'files', 'shards']),
  rate: z.number().nullable(),
  rateUnit: z.enum(['images']).optional().describe('What `rate` counts per second; defaults to `unit`.'),
  etaSeconds: z.number().nullable(),
  message: z.string(),
});
export type ProgressView = z.infer<typeof progressView>;

export const shardCounts = z.object({
  total: z.number().int(),
  committed: z.number().int(),
  leased: z.number().int(),
  rows: z.number().int(),
  rejected: z.number().int(),
});

export const failureView = z.object({ cause: attemptCause, code: z.string(), message: z.string() });
export type FailureView = z.infer<typeof failureView>;

/** A finding of the leader about an attempt that waits or runs; `failureTable` in libs/domain defines the codes. */
export const findingView = z.object({ code: z.string(), message: z.string(), since: timestamp });
export type FindingView = z.infer<typeof findingView>;

export const stepView = z.object({
  id: idOf('step'),
  name: z.string(),
  kind: stepKind,
  state: stepState,
  needs: z.array(z.string()),
  /** What it reads, by role: results of steps of the run, and imported weights. */
  reads: z.array(z.object({ role: z.string(), step: z.string().nullable(), weights: z.string().nullable() })),
  settings: z.record(z.string(), z.unknown()),
  /** Which pools it runs on, and the slots (GPUs) of one attempt. */
  pool: stepPool,
  slots: z.number().int(),
  /** GPU time of its attempts so far, running ones included. */
  gpuSeconds: z.number(),
  actions: z.array(actionView).describe('From this step on.'),
  waiting: waitingReason.nullable(),
  /** The steps and attempts that it waits for: those that hold the places, or that it needs. At most 20. */
  waitingFor: z.array(blocker),
  progress: progressView.nullable(),
  shards: shardCounts.nullable(),
  failure: failureView.nullable(),
  /** The failure for people, with what was done and what to do. */
  failureCard: failureCard.nullable(),
  /** The artifact that the step made or reused. */
  artifact: z.object({ id: idOf('artifact'), kind: artifactKind, digest: sha256Hex.nullable(), prefix: z.string() }).nullable(),
  /** The result that the step had, once the retention policy gave it up. */
  removed: z.object({ kind: artifactKind, bytes: z.number().int(), at: timestamp }).nullable().default(null),
  /** Where a reused result comes from. */
  reusedFrom: z.object({ runId: idOf('run'), runName: z.string() }).nullable(),
  /**
   * Scores, 0 to 1: `mapAt100.start`, `mapAt100.end` of a training stage; `mapAt100` of an evaluation, with its 95 % interval
   * `mapAt100.low` to `mapAt100.high`.
   */
  scores: z.record(z.string(), z.number()),
  attempts: z.number().int(),
  createdAt: timestamp,
  startedAt: timestamp.nullable(),
  finishedAt: timestamp.nullable(),
});
export type StepView = z.infer<typeof stepView>;

export const runSummary = z.object({
  id: idOf('run'),
  name: z.string(),
  recipe: z.string(),
  dataset: z.string(),
  owner: z.string(),
  state: runState,
  cause: z.string().nullable(),
  cancelCause: cancelCause.nullable().describe('Why it was cancelled, for programs.'),
  hold: holdCause.nullable().describe('What a held run waits for.'),
  verdict: runVerdict,
  priority: z.number().int(),
  ...runContext.shape,
  /** Sequence number of the run's newest event. */
  seq: z.number().int(),
  steps: z.object({ total: z.number().int(), done: z.number().int(), reused: z.number().int() }),
  createdAt: timestamp,
  startedAt: timestamp.nullable(),
  finishedAt: timestamp.nullable(),
});
export type RunSummary = z.infer<typeof runSummary>;

/** A run as the list shows it. */
export const runListItem = runSummary.extend({
  /** Time of the newest event. */
  updatedAt: timestamp,
  /** How far it is, 0 to 1: its steps, with what is done of those that run. */
  share: z.number(),
  /** What it does now, or why it failed or waits: one sentence; null for a run that succeeded or was cancelled. */
  now: z.string().nullable(),
  /** mAP@100 of its stages and evaluations, 0 to 1: the best, and that of the last step that has one. */
  mapAt100: z.object({ best: z.number().nullable(), last: z.number().nullable() }),
  /** GPU time of its attempts so far, running ones included. */
  gpuSeconds: z.number(),
  tags: z.array(z.string()).default([]),
  /** The first line of its note, at most 200 characters; null without a note. */
  noteLine: z.string().nullable().default(null),
  actions: z.array(actionView),
});
export type RunListItem = z.infer<typeof runListItem>;

export const runView = runListItem.extend({
  /** What a person wrote about it. */
  note: runNote.nullable().default(null),
  /** Who pinned it, so that its results are kept whatever the retention policy. */
  pinnedBy: z.string().nullable().default(null),
  /** When the retention policy gave up its results; what it measured stays. */
  retiredAt: timestamp.nullable().default(null),
  stepViews: z.array(stepView),
  noReuse: z.union([z.boolean(), z.array(z.string())]),
  /** The recipe with the overrides applied, as YAML. */
  recipeYaml: z.string(),
  /** What the submission gave: the name of a built-in recipe (null for a whole recipe) and what it changed. Null for runs of earlier versions. */
  given: z
    .object({ recipe: z.string().nullable(), set: z.record(z.string(), z.unknown()), until: z.array(z.string()).nullable() })
    .nullable(),
  /** The quality gate that was submitted with it. */
  gate: runGateView.nullable().default(null),
});
export type RunView = z.infer<typeof runView>;

export const runPage = page(runListItem).extend({
  total: z.number().int().describe('Runs that match the filters.'),
  position: z
    .string()
    .optional()
    .describe('Changes with the events of runs: a `reset` of the event stream with the same one needs no reload.'),
});

/** What a list of runs is sorted by. GPU time counts attempts that have ended; runs without a score come last. */
const runSortKeys = ['createdAt', 'updatedAt', 'name', 'state', 'mapAt100', 'gpuSeconds'] as const;
export type RunSortKey = (typeof runSortKeys)[number];
export const runSort = z.enum(runSortKeys.flatMap((key) => [key, `-${key}` as const]));
export type RunSort = z.infer<typeof runSort>;

/** A query parameter that may be repeated: any of its values. */
export const anyOf = <T extends z.ZodType<string>>(value: T, most = 20) =>
  z.union([value, z.array(value).min(1).max(most)]).transform((given): z.output<T>[] => (Array.isArray(given) ? given : [given]));

/** A time in a query. Its schema in OpenAPI lacks the pattern of a timestamp, for which generated tests take minutes to find examples. */
export const givenTime = writtenText(64, { least: 1 })
  .refine((text) => timestamp.safeParse(text).success, 'expected a time such as 2026-01-14T09:26:53Z')
  .describe('A time as in ISO 8601, with its offset.');

export const runListQuery = pageQuery.extend({
  q: writtenText(100).optional().describe('Text in the name, the id, the recipe, the owner, the tags or the note, in any case.'),
  state: anyOf(runState).optional().describe('May be repeated.'),
  recipe: anyOf(writtenText(63)).optional().describe('May be repeated.'),
  owner: anyOf(writtenText(63)).optional().describe('May be repeated.'),
  name: writtenText(63).optional().describe('The whole name.'),
  label: anyOf(labelText).optional().describe('`key=value`. May be repeated: runs that have all of them.'),
  tag: anyOf(runTag).optional().describe('May be repeated: runs that have all of them.'),
  group: writtenText(63).optional().describe('The whole name of a concurrency group.'),
  createdAfter: givenTime.optional(),
  createdBefore: givenTime.optional(),
  sort: runSort.default('-createdAt').describe('With a minus sign, the largest or newest first.'),
});

/** The estimated cost of a step; null where it cannot be estimated, and `basis` says why. */
export const stepEstimate = z.object({
  /** Over all its GPUs. */
  gpuHours: z.number().nullable(),
  /** Of one GPU. */
  gpuMemoryGib: z.number().nullable(),
  /** How it is estimated, with the numbers and the expected error. */
  basis: z.string(),
});
export type StepEstimate = z.infer<typeof stepEstimate>;

/** One step of a plan: what a submission would do with it. */
export const plannedStep = z.object({
  name: z.string(),
  kind: stepKind,
  needs: z.array(z.string()),
  action: z.enum(['run', 'reuse', 'wait-for-same']),
  /** `from run X`, or which part of the memo key differs from that of the nearest earlier step. */
  why: z.string(),
  settings: z.record(z.string(), z.unknown()),
  slots: z.number().int(),
  /** What it reads from outside the run; sha256 is null for weights that are not imported yet. */
  given: z.array(z.object({ role: z.string(), name: z.string(), sha256: sha256Hex.nullable() })).default([]),
  /** Only for steps that run on GPUs. */
  estimate: stepEstimate.nullable(),
  /** Only for a training stage: how an optimizer step is composed, and what changes with the number of GPUs. */
  split: z.string().nullable(),
});
export type PlannedStep = z.infer<typeof plannedStep>;

export const planView = z.object({
  recipe: recipe,
  dataset: z.string(),
  steps: z.array(plannedStep),
  /** For the steps that would run: the sum of their GPU-hours, and the most memory that one of them needs on a GPU. */
  estimate: stepEstimate,
});
export type PlanView = z.infer<typeof planView>;

export const cancelRequest = z.strictObject({ reason: writtenText(500).default('') });
export const retryRequest = z.strictObject({
  /** The step to run again from; defaults to every failed or cancelled step. */
  from: stepName.optional(),
  rejected: z
    .boolean()
    .default(false)
    .describe('Also runs extractions again that left out images: they read only these, and take over all features.'),
});

// Steps, attempts, shards ----------------------------------------------------------------------------------------------

export const attemptView = z.object({
  id: idOf('attempt'),
  runId: idOf('run'),
  stepId: idOf('step'),
  step: z.string(),
  ordinal: z.number().int(),
  generation: z.number().int(),
  state: attemptState,
  purpose: attemptPurpose.default('work'),
  failure: failureView.nullable(),
  /** Why it has not started yet, or what is wrong while it runs. */
  finding: findingView.nullable(),
  contact: z.enum(['ok', 'silent', 'none']),
  pool: z.string(),
  /** Where it runs: host and process, container or pod. */
  place: z.string().nullable(),
  resumedFrom: z.object({ step: z.number().int(), epoch: z.number() }).nullable(),
  /** The last optimizer step that it reported; null if it reported none. */
  reachedStep: z.number().int().nullable(),
  createdAt: timestamp,
  startedAt: timestamp.nullable(),
  endedAt: timestamp.nullable(),
  lastContactAt: timestamp.nullable(),
});
export type AttemptView = z.infer<typeof attemptView>;
export const attemptList = z.object({ items: z.array(attemptView) });

/** Files that an attempt leaves in addition to its result: TensorBoard event files. */
export const attemptFileList = z.object({
  items: z.array(z.object({ name: fileName, bytes: z.number().int(), modifiedAt: timestamp })),
});

export const shardView = z.object({
  index: z.number().int(),
  from: z.number().int(),
  count: z.number().int(),
  state: shardState,
  attemptId: z.string().nullable(),
  leaseUntil: timestamp.nullable(),
  tries: z.number().int(),
  rows: z.number().int().nullable(),
  rejected: z.number().int().nullable(),
});
/** A page of a step's shards in order: at most 1,000, from the shard `from` on; `next` is null after the last. */
export const shardList = z.object({ counts: shardCounts, items: z.array(shardView), next: z.number().int().nullable() });
export const shardsQuery = z.object({ from: z.coerce.number().int().min(0).max(1_000_000).default(0) });
