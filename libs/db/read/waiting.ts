import {
  type Blocker,
  type FindingView,
  type FleetView,
  isDoneStep,
  isEndedStep,
  maxBlockers,
  type PoolRoom,
  type RunState,
  type StepState,
  type WaitingReason,
  workingRunStates,
} from '@cairn/contract';
import { type Admission, admit, type PoolCapacity, type RunningAttempt, slotsIn, type WaitingStep } from '@cairn/domain';
import { z } from 'zod';
import { listOfStates, liveAttempts, type Transaction } from '../client.ts';
import { isoTime, readNullable, readRows, roomColumn } from './columns.ts';
import type { HoldReason } from './holds.ts';

/** The input of {@link admit}: everything that waits for slots, everything that holds slots, and the pools. */
export type Waiting = {
  waiting: (WaitingStep & { loaderBytes: number })[];
  running: (RunningAttempt & { runId: string; runName: string; stepName: string })[];
  pools: PoolCapacity[];
};

const waitingRow = z.object({
  id: z.string(),
  runId: z.string(),
  runName: z.string(),
  name: z.string(),
  isFleet: z.boolean(),
  owner: z.string(),
  priority: z.number().int(),
  readyAt: z.date(),
  notBefore: z.date().nullable(),
  pool: z.enum(['tasks', 'gpu']),
  slots: z.number().int(),
  maxAttempts: z.number().int(),
  /** Bytes that the loader processes of one attempt keep in shared memory. */
  loaderBytes: z.number(),
  live: z.number().int(),
  /** Null for steps without shards (a fleet's are planned when its result is reserved), and when only finalizing is left. */
  openShards: z.number().int().nullable(),
});

const runningRow = z.object({
  attemptId: z.string(),
  stepId: z.string(),
  stepName: z.string(),
  runId: z.string(),
  runName: z.string(),
  isFleet: z.boolean(),
  pool: z.string(),
  slots: z.number().int(),
  owner: z.string(),
  stopping: z.boolean(),
  startedAt: z.date(),
  leasedShards: z.number().int(),
});

/**
 * Loads what waits for slots over all projects: ready steps of live runs that build their own result, extractions that can use more
 * attempts, and steps whose finalizing waits for a task slot. Three queries, regardless of the backlog: 5,000 waiting steps take about 30
 * ms.
 */
export async function loadWaiting(db: Transaction): Promise<Waiting> {
  // In sequence: inside a transaction they share a connection.
  const waitingRows = await db.$queryRaw`
    select s.id, s.run_id as "runId", r.name as "runName", s.name, s.shards_total is not null as "isFleet", r.owner, r.priority,
           coalesce(s.ready_at, s.created_at) as "readyAt", s.not_before as "notBefore",
           case when s.finalizing then 'tasks' else s.pool end as pool, case when s.finalizing then 1 else s.slots end as slots,
           case when s.finalizing then 1 else s.max_attempts end as "maxAttempts", s.loader_bytes::float8 as "loaderBytes", coalesce(a.live, 0) as live,
           case when s.shards_total is not null and not s.finalizing then (
             select count(*)::int from shard h where h.step_id = s.id and h.state in ('pending', 'leased')
           ) end as "openShards"
      from step s
      join run r on r.id = s.run_id and r.state in ${listOfStates(workingRunStates)}
      join artifact f on f.id = s.artifact_id and f.state = 'building' and f.run_id = s.run_id and f.step_name = s.name
      left join (select step_id, purpose, count(*)::int as live from attempt
                  where state in ${liveAttempts} group by step_id, purpose) a
        on a.step_id = s.id and a.purpose = case when s.finalizing then 'finalize' else 'work' end
     where s.state = 'ready' or (s.state = 'active' and s.shards_total is not null)`;
  const runningRows = await db.$queryRaw`
    select a.id as "attemptId", a.step_id as "stepId", s.name as "stepName", r.id as "runId", r.name as "runName", s.shards_total is not null as "isFleet", a.pool, a.slots, r.owner,
           a.state = 'stopping' as stopping, coalesce(a.started_at, a.created_at) as "startedAt",
           case when s.shards_total is not null then (
             select count(*)::int from shard h where h.step_id = a.step_id and h.state = 'leased' and h.attempt_id = a.id
           ) else 0 end as "leasedShards"
      from attempt a join step s on s.id = a.step_id join run r on r.id = s.run_id
     where a.state in ${liveAttempts}`;
  const pools = await db.pool.findMany({
    orderBy: [{ position: 'asc' }, { name: 'asc' }],
    select: { name: true, slots: true, attemptSlots: true, room: true },
  });
  return {
    waiting: readRows(waitingRow, waitingRows).flatMap(toWaitingStep),
    running: readRows(runningRow, runningRows).map(({ startedAt, ...attempt }): Waiting['running'][number] => ({
      ...attempt,
      label: `${attempt.stepName} of ${attempt.runName}`,
      startedAt: startedAt.getTime(),
    })),
    pools: pools.map((pool) => ({ ...pool, room: readNullable(roomColumn, pool.room, `pool ${pool.name} room`) })),
  };
}

/** Empty when the step has all the attempts that it can use. */
function toWaitingStep(row: z.infer<typeof waitingRow>): Waiting['waiting'] {
  const { id, maxAttempts, openShards, readyAt, notBefore, ...rest } = row;
  const wanted = row.isFleet ? Math.min(maxAttempts, openShards ?? maxAttempts) : 1;
  if (row.live >= wanted) return [];
  return [{ ...rest, stepId: id, wanted, openShards, readyAt: readyAt.getTime(), notBefore: notBefore?.getTime() ?? null }];
}

/** What the views need to say why a step waits. */
export type AdmissionView = {
  waiting: Waiting;
  /** The reasons of {@link admit}, by step. A waiting step without one is about to be started. */
  reasons: Admission['reasons'];
  leader: Leader;
  /** When it was evaluated, in milliseconds since the epoch by this process's clock. */
  takenAt: number;
};

/** The leader's row; `isAlive` is by the database's clock, so that no program's clock matters. */
export type Leader = { holder: string; epoch: number; expiresAt: Date; isAlive: boolean };

const leaderRow = z.object({ holder: z.string(), epoch: z.number().int(), expiresAt: z.date(), isAlive: z.boolean() });

export async function loadLeader(db: Transaction): Promise<Leader> {
  const rows = await db.$queryRaw`
    select holder, epoch, expires_at as "expiresAt", expires_at > now() as "isAlive" from leadership where id = 1`;
  return readRows(leaderRow, rows)[0] ?? { holder: '', epoch: 0, expiresAt: new Date(0), isAlive: false };
}

/** Loads what waits and runs `admit` once: the same decision that the leader acts on. */
export async function loadAdmission(db: Transaction, now = Date.now()): Promise<AdmissionView> {
  const leader = await loadLeader(db);
  const waiting = await loadWaiting(db);
  return { waiting, reasons: admit(waiting.waiting, waiting.running, waiting.pools, now).reasons, leader, takenAt: now };
}

/** The leader, and how busy the pools are, over all projects. A step that fits two pools counts as waiting for both. */
export async function loadFleet(
  db: Transaction,
  admissionSource: () => Promise<AdmissionView> = () => loadAdmission(db),
): Promise<FleetView> {
  const pools = await db.pool.findMany({ orderBy: [{ position: 'asc' }, { name: 'asc' }] });
  // Not that of the admission, which may be older than the pools: they would have nobody who recorded them.
  const leader = await loadLeader(db);
  const { waiting } = await admissionSource();
  const idle = waiting.waiting.filter((step) => step.live === 0);
  return {
    leader: leader.isAlive ? { holder: leader.holder, epoch: leader.epoch, expiresAt: isoTime(leader.expiresAt) } : null,
    pools: pools.map(({ name, executor, slots, attemptSlots, room }) => ({
      name,
      executor,
      slots,
      busy: waiting.running.filter((attempt) => attempt.pool === name).reduce((sum, attempt) => sum + attempt.slots, 0),
      waiting: idle.filter((step) => (step.pool === 'tasks') === (name === 'tasks') && slotsIn({ slots, attemptSlots }, step) !== null)
        .length,
      room: roomOf(readNullable(roomColumn, room, `pool ${name} room`)),
    })),
  };
}

function roomOf(room: PoolRoom | null): FleetView['pools'][number]['room'] {
  return room === null ? null : { fits: room.fits, sentences: room.sentences, nodes: room.nodes };
}

/** The facts about a step that decide why it waits. Times are those of the rows. */
export type StepSituation = {
  stepId: string;
  state: StepState;
  runState: RunState;
  /** What the run waits for while it is held. */
  held: HoldReason | null;
  createdAt: Date;
  readyAt: Date | null;
  /** The steps that it needs. */
  needs: readonly { name: string; state: StepState }[];
  /** The other step that is building the same result, if any. */
  builder: { runId: string; runName: string; stepName: string } | null;
  attempts: AttemptCounts;
  /** Everything that the result needs exists; only finalizing is left. */
  isComplete: boolean;
};

/** Attempts of the step's generation. */
export type AttemptCounts = {
  /** Created or launching. */
  starting: number;
  startingSince: Date | null;
  startingPool: string | null;
  /** Why the oldest of them has not started yet, if the executor knows. */
  finding: FindingView | null;
  /** Running or stopping. */
  working: number;
  succeeded: number;
  lastEndedAt: Date | null;
};

/** True when {@link AdmissionView} is needed to say why the step waits; a run without such steps does not load it. */
export function needsAdmission(situation: StepSituation): boolean {
  const isIdle = situation.attempts.starting === 0 && situation.attempts.working === 0;
  if (situation.runState !== 'queued' && situation.runState !== 'running') return false;
  if (situation.state === 'ready') return isIdle && situation.builder === null;
  return situation.state === 'active' && isIdle && !situation.isComplete;
}

/** Why a step waits, in one sentence; null when it has ended or is running. Pure. */
export function waitingReasonOf(situation: StepSituation, admission: AdmissionView | null): WaitingReason | null {
  const { state, attempts } = situation;
  if (isEndedStep(state) || situation.runState === 'cancelling') return null;
  const isNext = situation.needs.every((need) => isDoneStep(need.state));
  if (situation.held !== null && isNext) return reason(situation.held.code, situation.held.sentence, situation.createdAt);
  if (state === 'blocked') return reason('dependencies', `waiting for ${unmetNeeds(situation)}`, situation.createdAt);
  const readyAt = situation.readyAt ?? situation.createdAt;
  if (situation.isComplete) {
    return reason('finalizing', 'its work is done; the result is being verified and stored', attempts.lastEndedAt ?? readyAt);
  }
  if (attempts.working > 0) return null;
  if (attempts.finding !== null) {
    return lasting('pending', attempts.finding.message, new Date(attempts.finding.since));
  }
  if (attempts.starting > 0) {
    const count = attempts.starting === 1 ? 'an attempt is' : `${attempts.starting} attempts are`;
    return reason('launching', `${count} being started on pool ${attempts.startingPool ?? 'unknown'}`, attempts.startingSince ?? readyAt);
  }
  if (situation.builder !== null) {
    const { stepName, runName, runId } = situation.builder;
    return reason('same-result-building', `${stepName} of run ${runName} (${runId}) is building the same result`, readyAt);
  }
  if (admission !== null && !admission.leader.isAlive) {
    const { holder, expiresAt } = admission.leader;
    return holder === ''
      ? reason('no-leader', 'no controller has reported yet, so nothing is started', readyAt)
      : reason('no-leader', `no controller is running, so nothing is started; the last one was ${holder}`, later(expiresAt, readyAt));
  }
  const admitted = admission?.reasons.get(situation.stepId);
  if (admitted?.code === 'backoff' || admitted?.code === 'launching') return reason(admitted.code, admitted.sentence, readyAt);
  if (admitted !== undefined) return lasting(admitted.code, admitted.sentence, readyAt);
  return reason('launching', 'it fits now; the controller starts it next', readyAt);
}

/** The steps and attempts that the reason is about, as data: links to what holds the places. Pure. */
export function blockersOf(
  situation: StepSituation,
  run: Blocker['run'],
  waiting: WaitingReason | null,
  admission: AdmissionView | null,
): Blocker[] {
  if (waiting === null) return [];
  if (waiting.code === 'dependencies') {
    const unmet = situation.needs.filter((need) => !isDoneStep(need.state));
    return unmet.slice(0, maxBlockers).map(({ name }) => ({ run, step: name, attemptId: null, slots: null }));
  }
  if (waiting.code === 'same-result-building' && situation.builder !== null) {
    const { runId, runName, stepName } = situation.builder;
    return [{ run: { id: runId, name: runName }, step: stepName, attemptId: null, slots: null }];
  }
  const admitted = admission?.reasons.get(situation.stepId);
  if (admission === null || admitted?.code !== waiting.code) return [];
  const ahead = admission.waiting.waiting.filter((step) => step.stepId === admitted.stepId);
  const holders = admission.waiting.running.filter((attempt) => admitted.attemptIds?.includes(attempt.attemptId));
  return [
    ...ahead.map((step) => ({ run: { id: step.runId, name: step.runName }, step: step.name, attemptId: null, slots: null })),
    ...holders.map(({ runId, runName, stepName, attemptId, slots }) => ({
      ...{ run: { id: runId, name: runName }, step: stepName },
      ...{ attemptId, slots },
    })),
  ].slice(0, maxBlockers);
}

const reason = (code: WaitingReason['code'], sentence: string, since: Date): WaitingReason => ({
  code,
  sentence,
  since: since.toISOString(),
});

/** A reason that may last: the sentence includes its start time, so that it is complete wherever it is shown. */
const lasting = (code: WaitingReason['code'], sentence: string, since: Date): WaitingReason =>
  reason(code, `${sentence} (since ${since.toISOString().slice(0, 16).replace('T', ' ')} UTC)`, since);

const later = (a: Date, b: Date): Date => (a > b ? a : b);

/** A step's state in a sentence about the steps that others wait for. */
const isWaiting = (state: StepState): state is 'blocked' | 'ready' => state === 'blocked' || state === 'ready';

const stateWords = {
  active: 'running',
  succeeded: 'succeeded',
  reused: 'reused',
  failed: 'failed',
  cancelled: 'cancelled',
} as const satisfies Record<Exclude<StepState, 'blocked' | 'ready'>, string>;

function unmetNeeds(situation: StepSituation): string {
  const unmet = situation.needs.filter((need) => !isDoneStep(need.state));
  if (unmet.length === 0) return 'the controller';
  const words = unmet.map(({ name, state }) => (isWaiting(state) ? name : `${name} (${stateWords[state]})`));
  return words.length === 1 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
