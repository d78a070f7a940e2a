import { type Admission, admit, type PoolCapacity, type RunningAttempt, type WaitingStep } from '@cairn/domain';
import { z } from 'zod';
import { liveAttempts, type Transaction } from '../client.ts';
import { readNullable, readRows, roomColumn } from './columns.ts';

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
      join run r on r.id = s.run_id and r.state in ('queued', 'running')
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
