import {
  type AttemptPurpose,
  type AttemptState,
  attemptStates,
  CairnError,
  type EventData,
  type EventType,
  type KindAndSettings,
  mayFollow,
  type RunAction,
  type RunGateState,
  type RunLabels,
  type RunOrigin,
  type RunSource,
  type RunState,
  runStates,
  type StepState,
  stepStates,
  type WebhookData,
  whyNotAllowed,
} from '@cairn/contract';
import type { Transaction } from '@cairn/db';
import type { FailureCounts, KnownInput, StepNeed } from '@cairn/domain';
import type { Given } from './columns.ts';
import { announcementOf } from './deliveries/sending.ts';
import type { EngineContext } from './engine.ts';
import { type AttemptColumns, type Change, noWrites, type PendingWrites, type RunColumns, type StepColumns } from './pending-writes.ts';

export type WorkAttempt = { id: string; state: AttemptState; ordinal: number; pool: string; purpose: AttemptPurpose };

export type WorkArtifact = {
  id: string;
  state: 'building' | 'ready' | 'deleting';
  runId: string | null;
  stepName: string;
  digest: string | null;
  memoKey: string | null;
};

export type WorkStep = KindAndSettings & {
  id: string;
  name: string;
  needs: StepNeed[];
  given: Given[];
  slots: number;
  maxAttempts: number;
  state: StepState;
  generation: number;
  artifact: WorkArtifact | null;
  /** Attempts of this generation, ordered by ordinal. */
  attempts: WorkAttempt[];
  /** The newest ordinal of any generation; 0 before the first attempt. */
  lastOrdinal: number;
  failures: FailureCounts;
  /** True once finalizing was requested. */
  finalizing: boolean;
  shardsTotal: number | null;
  shardsCommitted: number;
  readyAt: Date | null;
  startedAt: Date | null;
};

/**
 * A run under its row's lock: what a command sees and changes. Changes to the run, its steps and their attempts are collected until the
 * command ends ({@link changeStep}, {@link changeAttempt}, {@link changeRun}, {@link emit}, {@link enqueue}); other tables are written
 * directly.
 */
export type RunWork = {
  ctx: EngineContext;
  tx: Transaction;
  id: string;
  name: string;
  projectId: string;
  owner: string;
  labels: RunLabels;
  state: RunState;
  seq: number;
  noReuse: boolean | string[];
  /** Why it is held, or ended as it did. */
  cause: string | null;
  recipeName: string;
  origin: RunOrigin;
  source: RunSource | null;
  dataset: { name: string; version: number; digest: string };
  /** Its concurrency group. */
  group: string | null;
  /** True once a step of it has been started. */
  hasStarted: boolean;
  /** The quality gate that it was submitted with. */
  gate: { state: RunGateState; generation: number } | null;
  steps: WorkStep[];
  /** Digests and details of artifacts that were looked up for memo keys, by id. */
  inputs: Map<string, KnownInput>;
  /** The command's time, used for everything that it changes. */
  now: Date;
  pending: PendingWrites;
  /** Runs that wait for a result that this command decided about; settled after the commit. */
  alsoSettle: Set<string>;
};

export type RunRow = Pick<
  RunWork,
  | 'id'
  | 'name'
  | 'projectId'
  | 'owner'
  | 'labels'
  | 'state'
  | 'cause'
  | 'seq'
  | 'noReuse'
  | 'recipeName'
  | 'origin'
  | 'source'
  | 'dataset'
  | 'group'
  | 'gate'
  | 'hasStarted'
>;

/** A run as stored in the tables; `submitRun` creates one from the rows that it is about to insert. */
export function runWork(ctx: EngineContext, tx: Transaction, run: RunRow, steps: WorkStep[], alsoSettle: Set<string>): RunWork {
  return { ...run, ctx, tx, steps, inputs: new Map(), now: new Date(), pending: noWrites(), alsoSettle };
}

/** A change to a step: its columns, and the result that it makes or waits for. */
export type StepChange = Omit<StepColumns, 'artifactId'> & { artifact?: WorkArtifact | null };

/** Changes a step in memory, and its row when the command ends. Only `moveStep` and `block` change its state. */
export function changeStep(run: RunWork, step: WorkStep, { artifact, ...columns }: StepChange): void {
  requireMove(stepStates, `step ${step.name}`, step.state, columns.state);
  addChange(run.pending.steps, step, { ...columns, ...(artifact === undefined ? {} : { artifactId: artifact?.id ?? null }) });
  const { state, generation, failures, finalizing, shardsTotal, shardsCommitted, readyAt, startedAt } = { ...step, ...columns };
  Object.assign(step, { state, generation, failures, finalizing, shardsTotal, shardsCommitted, readyAt, startedAt });
  if (artifact !== undefined) step.artifact = artifact;
}

/** Updates the result of all steps of the run that have it: the step that makes it and the steps that wait for it. */
export function replaceResult(run: Pick<RunWork, 'steps'>, artifactId: string, result: WorkArtifact | null): void {
  for (const step of run.steps) if (step.artifact?.id === artifactId) step.artifact = result;
}

/** True when the step makes its result itself; false when it reuses one, waits for one that another step makes, or has none. */
export function makesItsResult({ id }: Pick<RunWork, 'id'>, { name, artifact }: Pick<WorkStep, 'name' | 'artifact'>): boolean {
  return artifact?.runId === id && artifact.stepName === name;
}

/** Changes an attempt's columns when the command ends, `state` is the state that was read: a concurrent change makes the command fail. */
export function changeAttempt(run: RunWork, attempt: { id: string; state: AttemptState }, columns: AttemptColumns): void {
  requireMove(attemptStates, `attempt ${attempt.id}`, attempt.state, columns.state);
  addChange(run.pending.attempts, attempt, columns);
}

function addChange<State, Columns extends object>(
  changes: Map<string, Change<State, Columns>>,
  { id, state }: { id: string; state: State },
  columns: Columns,
): void {
  const pending = changes.get(id);
  if (pending) Object.assign(pending.columns, columns);
  else changes.set(id, { from: state, columns: { ...columns } });
}

/** @throws CairnError `wrong_state` when the table of states does not allow the change */
function requireMove<S extends string>(table: Readonly<Record<S, { next: readonly S[] }>>, what: string, from: S, to: S | undefined): void {
  if (to !== undefined && !mayFollow(table, from, to)) throw new CairnError('wrong_state', `${what} is ${from} and cannot become ${to}`);
}

/** @throws CairnError `wrong_state` when the run's state does not allow the action */
export function requireAction(run: Pick<RunWork, 'name' | 'state'>, action: RunAction): void {
  const why = whyNotAllowed(run.state, action);
  if (why !== null) throw new CairnError('wrong_state', `run ${run.name} ${why}`);
}

/** Changes the run's columns when the command ends. */
export function changeRun(run: RunWork, columns: RunColumns): void {
  requireMove(runStates, `run ${run.name}`, run.state, columns.state);
  Object.assign(run.pending.run, columns);
}

/** Adds a line to the run's history, written when the command ends; it is numbered under the run's lock, so there are no gaps. */
export function emit<Type extends EventType>(run: RunWork, type: Type, message: string, data: EventData[Type]): void {
  run.seq += 1;
  run.pending.events.push({ seq: run.seq, at: new Date(), type, message, data });
}

/** Announces the run to webhooks when the command ends. */
export function announceRun<Event extends 'run.ended' | 'gate.judged' | 'budget.reached'>(
  run: RunWork,
  event: Event,
  data: Omit<WebhookData[Event], 'run'>,
  subject: string = run.id,
): void {
  const { id, name, recipeName: recipe, owner, origin, source, dataset, now: at } = run;
  const facts = { run: { id, name, recipe, dataset: `${dataset.name}@${dataset.version}`, owner, origin, source } };
  run.pending.announcements.push(announcementOf(event, { subject, at, data: { ...data, ...facts } }));
}

/** Requests a queue entry for when the transaction commits. */
export function enqueue(run: RunWork, queue: 'launch' | 'tasks' | 'finalize' | 'judge', row: string, generation: number): void {
  run.pending.outbox.push({ queue, row, generation });
}

export function findStep(run: RunWork, stepId: string): WorkStep {
  const step = run.steps.find((candidate) => candidate.id === stepId);
  if (!step) throw new CairnError('not_found', `run ${run.id} has no step ${stepId}`);
  return step;
}
