import type {
  AttemptState,
  CancelCause,
  HoldCause,
  OnNewer,
  RunGateState,
  RunLabels,
  RunOrigin,
  RunSource,
  RunState,
  StepState,
  StopCause,
} from '@cairn/contract';
import { hintChannel, Prisma, runChannel, type Transaction, wakeChannel } from '@cairn/db';
import type { FailureCounts } from '@cairn/domain';
import { reportInsertion, reportsOf } from './deliveries/reports.ts';
import { type Announcement, messageInsertion } from './deliveries/sending.ts';

/**
 * What a command decided and has not written yet. A command changes many steps and emits an event for each; separate statements took most
 * of its time, so all are written in one ({@link writePending}).
 */
export type PendingWrites = {
  /** A run that the command creates, with its steps; changes to these are included in the inserted rows. */
  made: { run: NewRun; steps: NewStep[] } | null;
  run: RunColumns;
  /** By step or attempt: its state in the table, and the columns that change. */
  steps: Map<string, Change<StepState, StepColumns>>;
  attempts: Map<string, Change<AttemptState, AttemptColumns>>;
  madeAttempts: NewAttempt[];
  events: { seq: number; at: Date; type: string; message: string; data: unknown }[];
  outbox: { queue: string; row: string; generation: number }[];
  /** For webhooks. */
  announcements: Announcement[];
};

export type Change<State, Columns> = { from: State; columns: Columns };

export type RunColumns = Partial<{
  state: RunState;
  cause: string | null;
  cancelCause: CancelCause | null;
  hold: HoldCause | null;
  groupPlace: number;
  verdict: string;
  noReuse: boolean | string[];
  gateState: RunGateState;
  gateGeneration: number;
  gateProblem: string | null;
  gateNotBefore: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
}>;

export type StepColumns = Partial<{
  state: StepState;
  generation: number;
  artifactId: string | null;
  reusedFromRunId: string | null;
  removed: unknown;
  failure: unknown;
  failures: FailureCounts;
  notBefore: Date | null;
  progress: unknown;
  scores: unknown;
  finalizing: boolean;
  shardsTotal: number | null;
  shardsCommitted: number;
  rows: number;
  rejected: number;
  readyAt: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
}>;

export type AttemptColumns = Partial<{
  state: AttemptState;
  generation: number;
  instance: string;
  place: string;
  contact: string;
  startedAt: Date;
  lastContactAt: Date;
  stopCause: StopCause;
  stopReason: string;
  stopRequestedAt: Date;
  endedAt: Date;
  failure: unknown;
  result: unknown;
  avoidNode: string;
}>;

type NewRun = {
  id: string;
  projectId: string;
  owner: string;
  name: string;
  recipeName: string;
  recipe: unknown;
  datasetId: string;
  priority: number;
  idempotencyKey: string | null;
  requestDigest: string;
  /** {recipe, set, until}: what the submission gave. */
  request: unknown;
  origin: RunOrigin;
  source: RunSource | null;
  labels: RunLabels;
  group: string | null;
  onNewer: OnNewer;
  gate: unknown;
  expectedGpuMs: number | null;
  groupPlace: number | null;
} & Required<Pick<RunColumns, 'state' | 'noReuse' | 'hold' | 'gateGeneration'>> &
  Pick<RunColumns, 'gateState'>;

export type NewStep = {
  id: string;
  position: number;
  name: string;
  kind: string;
  settings: unknown;
  needs: unknown;
  given: unknown;
  pool: string;
  slots: number;
  maxAttempts: number;
  loaderBytes: number;
} & Required<Pick<StepColumns, 'state' | 'failures'>>;

type NewAttempt = {
  id: string;
  stepId: string;
  ordinal: number;
  stepGeneration: number;
  purpose: string;
  pool: string;
  slots: number;
  queuedAt: Date | null;
} & Required<Pick<AttemptColumns, 'state'>>;

export const noWrites = (): PendingWrites => ({
  made: null,
  run: {},
  steps: new Map(),
  attempts: new Map(),
  madeAttempts: [],
  events: [],
  outbox: [],
  announcements: [],
});

/** Column names by property name; typed, so that a property added to the type must be added here. */
type Names<Row> = Record<keyof Required<Row>, string>;

const runNames: Names<RunColumns> = {
  state: 'state',
  cause: 'cause',
  cancelCause: 'cancel_cause',
  hold: 'hold',
  groupPlace: 'group_place',
  verdict: 'verdict',
  noReuse: 'no_reuse',
  gateState: 'gate_state',
  gateGeneration: 'gate_generation',
  gateProblem: 'gate_problem',
  gateNotBefore: 'gate_not_before',
  startedAt: 'started_at',
  finishedAt: 'finished_at',
};
const stepNames: Names<StepColumns> = {
  state: 'state',
  generation: 'generation',
  artifactId: 'artifact_id',
  reusedFromRunId: 'reused_from_run_id',
  removed: 'removed',
  failure: 'failure',
  failures: 'failures',
  notBefore: 'not_before',
  progress: 'progress',
  scores: 'scores',
  finalizing: 'finalizing',
  shardsTotal: 'shards_total',
  shardsCommitted: 'shards_committed',
  rows: 'rows',
  rejected: 'rejected',
  readyAt: 'ready_at',
  startedAt: 'started_at',
  finishedAt: 'finished_at',
};
const attemptNames: Names<AttemptColumns> = {
  state: 'state',
  generation: 'generation',
  instance: 'instance',
  place: 'place',
  contact: 'contact',
  startedAt: 'started_at',
  lastContactAt: 'last_contact_at',
  stopCause: 'stop_cause',
  stopReason: 'stop_reason',
  stopRequestedAt: 'stop_requested_at',
  endedAt: 'ended_at',
  failure: 'failure',
  result: 'result',
  avoidNode: 'avoid_node',
};
const newRunNames: Names<NewRun & { seq: number } & Omit<RunColumns, 'verdict' | 'groupPlace'>> = {
  id: 'id',
  projectId: 'project_id',
  owner: 'owner',
  name: 'name',
  recipeName: 'recipe_name',
  recipe: 'recipe',
  datasetId: 'dataset_id',
  state: 'state',
  cause: 'cause',
  cancelCause: 'cancel_cause',
  hold: 'hold',
  groupPlace: 'group_place',
  priority: 'priority',
  noReuse: 'no_reuse',
  idempotencyKey: 'idempotency_key',
  requestDigest: 'request_digest',
  request: 'request',
  origin: 'origin',
  source: 'source',
  labels: 'labels',
  expectedGpuMs: 'expected_gpu_ms',
  group: 'concurrency_group',
  onNewer: 'on_newer',
  gate: 'gate',
  gateState: 'gate_state',
  gateGeneration: 'gate_generation',
  gateProblem: 'gate_problem',
  gateNotBefore: 'gate_not_before',
  seq: 'seq',
  startedAt: 'started_at',
  finishedAt: 'finished_at',
};
/** Columns that settling may set on a step before it is inserted. */
type SettledStep = Pick<StepColumns, 'artifactId' | 'reusedFromRunId' | 'failure' | 'notBefore' | 'readyAt' | 'startedAt' | 'finishedAt'>;
const newStepNames: Names<NewStep & { runId: string } & SettledStep> = {
  id: 'id',
  runId: 'run_id',
  position: 'position',
  name: 'name',
  kind: 'kind',
  settings: 'settings',
  needs: 'needs',
  given: 'given',
  pool: 'pool',
  slots: 'slots',
  maxAttempts: 'max_attempts',
  loaderBytes: 'loader_bytes',
  state: 'state',
  failures: 'failures',
  artifactId: 'artifact_id',
  reusedFromRunId: 'reused_from_run_id',
  failure: 'failure',
  notBefore: 'not_before',
  readyAt: 'ready_at',
  startedAt: 'started_at',
  finishedAt: 'finished_at',
};
const newAttemptNames: Names<NewAttempt & { runId: string }> = {
  id: 'id',
  runId: 'run_id',
  stepId: 'step_id',
  ordinal: 'ordinal',
  stepGeneration: 'step_generation',
  purpose: 'purpose',
  state: 'state',
  pool: 'pool',
  slots: 'slots',
  queuedAt: 'queued_at',
};
const eventNames = { runId: 'run_id', seq: 'seq', at: 'at', type: 'type', message: 'message', data: 'data' };
const outboxNames = { queue: 'queue', row: 'row', generation: 'generation' };

/** Inserts the rows of the list `part` of the input into a table. */
const insertion = (table: string, part: string, names: Record<string, string>): string => {
  const columns = Object.values(names).map((name) => `"${name}"`);
  return `insert into "${table}" (${columns.join(', ')})
    select ${columns.map((name) => `r.${name}`).join(', ')} from given, jsonb_populate_recordset(null::"${table}", w->'${part}') r returning 1`;
};

/** The `set` clause of `patch`; a column that it does not name keeps its value, an explicit null clears it. */
const patched = (table: string, patch: string, names: Record<string, string>): string => {
  const columns = Object.values(names).map((name) => `"${name}"`);
  return `set (${columns.join(', ')}) = (select ${columns.map((name) => `r.${name}`).join(', ')} from jsonb_populate_record(${table}, ${patch}) r)`;
};

/**
 * Updates the rows of a table that still have the expected state from the list `part` of the input. Filters by run as well as by id, so
 * that the run's index is used whatever row count the planner assumes for the list.
 */
const change = (table: string, part: string, names: Record<string, string>): string => `
  update "${table}" ${patched(table, 'c.patch', names)}
    from given, jsonb_to_recordset(w->'${part}') as c(id text, "from" text, patch jsonb)
   where "${table}".run_id = w->>'runId' and "${table}".id = c.id and "${table}".state = c."from" returning 1`;

const [beforeGiven, afterGiven] = [
  'with given as (select ',
  `::jsonb as w),
  made_run as (${insertion('run', 'madeRuns', newRunNames)}),
  made_steps as (${insertion('step', 'madeSteps', newStepNames)}),
  made_attempts as (${insertion('attempt', 'madeAttempts', newAttemptNames)}),
  changed_run as (update run ${patched('run', "w->'run'", { ...runNames, seq: 'seq' })} from given
                   where run.id = w->>'runId' and (w->'changesRun')::boolean returning 1),
  changed_steps as (${change('step', 'steps', stepNames)}),
  changed_attempts as (${change('attempt', 'attempts', attemptNames)}),
  new_events as (${insertion('event', 'events', eventNames)}),
  new_entries as (${insertion('outbox', 'outbox', outboxNames)}),
  new_messages as (${messageInsertion(
    'm.project',
    "(select r.*, w->>'projectId' as project from given, jsonb_to_recordset(w->'announcements') as r(event text, subject text, body jsonb)) m",
  )} returning 1),
  new_reports as (${reportInsertion(
    `(select r.*, w->>'projectId' as project from given, jsonb_to_recordset(w->'reports')
        as r(event text, provider text, repository text, subject text, key text, body jsonb)) r`,
  )} returning 1)
  select (select count(*)::int from changed_steps) as steps, (select count(*)::int from changed_attempts) as attempts,
         (select count(pg_notify(n.channel, n.payload))::int from given, jsonb_to_recordset(w->'notices') as n(channel text, payload text)) as notices`,
];

type WrittenRun = { id: string; projectId: string; recipeName: string; origin: RunOrigin; source: RunSource | null; seq: number };

/**
 * Writes and clears what is pending, in one statement. `seq` is the sequence number of the run's newest event.
 *
 * @throws Error when a step or an attempt is no longer in the state that the command saw
 */
export async function writePending(tx: Transaction, run: WrittenRun, pending: PendingWrites): Promise<void> {
  const { made, run: columns, steps, attempts, madeAttempts, events, outbox, announcements } = pending;
  Object.assign(pending, noWrites());
  const changesRun = events.length > 0 || Object.keys(columns).length > 0;
  if (!changesRun && made === null && steps.size + attempts.size + madeAttempts.length + outbox.length === 0) return;
  const given = {
    madeRuns: made === null ? [] : [named(newRunNames, { ...made.run, ...columns, seq: run.seq })],
    madeSteps:
      made === null ? [] : made.steps.map((step) => named(newStepNames, { ...step, runId: run.id, ...steps.get(step.id)?.columns })),
    madeAttempts: madeAttempts.map((attempt) => named(newAttemptNames, { ...attempt, runId: run.id })),
    runId: run.id,
    changesRun: made === null && changesRun,
    run: { ...named(runNames, columns), seq: run.seq },
    steps: made === null ? changes(stepNames, steps) : [],
    attempts: changes(attemptNames, attempts),
    events: events.map((event) => named(eventNames, { ...event, runId: run.id })),
    outbox: outbox.map((entry) => named(outboxNames, entry)),
    projectId: run.projectId,
    announcements,
    reports: reportsOf(run, events),
    notices: events.length > 0 ? noticesOf(run) : [],
  };
  const rows = await tx.$queryRaw<
    { steps: number; attempts: number }[]
  >`${Prisma.raw(beforeGiven)}${JSON.stringify(given)}${Prisma.raw(afterGiven)}`;
  if (rows[0]?.steps !== given.steps.length || rows[0].attempts !== given.attempts.length)
    throw new Error(`steps or attempts of run ${run.id} were modified without the lock`);
}

function changes<State, Columns extends object>(names: Record<string, string>, rows: Map<string, Change<State, Columns>>) {
  return [...rows].map(([id, { from, columns }]) => ({ id, from, patch: named(names, columns) }));
}

/** The row with column names instead of property names. */
function named(names: Record<string, string>, row: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([property, value]) => {
      const name = names[property];
      if (name === undefined) throw new Error(`${property} is not a column that a command writes`);
      return [name, value];
    }),
  );
}

/** Notifications to the leader and every api replica when the transaction commits. */
const noticesOf = ({ id, seq }: { id: string; seq: number }) => [
  { channel: runChannel, payload: JSON.stringify({ runId: id, seq }) },
  { channel: hintChannel, payload: JSON.stringify({ topic: 'runs', runId: id, what: 'run' }) },
  { channel: wakeChannel, payload: '' },
];
