import {
  attemptState,
  CairnError,
  type FleetWork,
  fleetKinds,
  isFleetKind,
  isLiveAttempt,
  maxFleetWork,
  maxGridShards,
  type ShardGrid,
  servedQueue,
  shardSeconds,
  shardState,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { fileOfArtifact } from './catalogue.ts';
import { isoTime, isoTimeOrNull, readColumn, readRows } from './columns.ts';
import type { AdmissionSource } from './step-views.ts';
import { findStepRow, type StepArgs } from './steps.ts';
import { type AdmissionView, loadAdmission } from './waiting.ts';

/** The rate of a fleet is that of the last minutes. */
const rateSeconds = 600;
/** Workers of a fleet, those that were replaced included. */
const maxWorkers = 500;

/**
 * The step whose shards a fleet's step shows: itself, or the one whose result it reuses.
 *
 * @throws CairnError `not_found`; `wrong_state` for a step of another kind
 */
async function fleetStep(db: Transaction, args: StepArgs) {
  const { id, kind } = await findStepRow(db, args);
  if (!isFleetKind(kind)) {
    throw new CairnError('wrong_state', `The step ${args.name} is of the kind ${kind}: it has no shards`, {
      details: { remedy: `Choose a step of the kind ${fleetKinds.join(', ')}.` },
    });
  }
  const select = {
    ...{ id: true, kind: true, state: true, shardsTotal: true, shardsCommitted: true, rows: true, rejected: true },
    ...{ startedAt: true, finishedAt: true, reusedFromRunId: true },
    artifact: { select: { id: true, state: true, prefix: true, files: true, fileCount: true, runId: true, stepName: true, details: true } },
    run: { select: { dataset: { select: { name: true, version: true } } } },
  } as const;
  const step = await db.step.findUniqueOrThrow({ where: { id }, select });
  const { artifact } = step;
  if (step.state !== 'reused' || artifact?.runId == null) return step;
  const maker = await db.step.findUnique({ where: { runId_name: { runId: artifact.runId, name: artifact.stepName } }, select });
  return maker ?? step;
}

const gridRow = z.object({
  states: z.array(z.enum(shardState.options)).nullable(),
  attempts: z.array(z.string().nullable()).nullable(),
  tenths: z.array(z.number().int()).nullable(),
  rejected: z.array(z.number().int()).nullable(),
  tries: z.array(z.number().int()).nullable(),
  images: z.coerce.number().int(),
  leased: z.number().int(),
  /** Images that were committed lately, and the seconds in which they were. */
  recent: z.coerce.number(),
  recentSeconds: z.coerce.number(),
});

const heldRow = z.object({ gpuSeconds: z.number(), cost: z.number().nullable() });

const workerRow = z.object({
  id: z.string(),
  ordinal: z.number().int(),
  place: z.string().nullable(),
  state: attemptState,
  shards: z.number().int(),
  images: z.coerce.number().int(),
  seconds: shardSeconds,
  bytesRead: z.coerce.number().int().nullable(),
  device: z.string().nullable(),
  startedAt: z.date().nullable(),
  endedAt: z.date().nullable(),
});

/** All shards of a fleet at once, the work of its attempts, its rate, and what proves that no image is missing. */
export async function readShardGrid(db: Transaction, args: StepArgs): Promise<ShardGrid> {
  const step = await fleetStep(db, args);
  const [grid] = readRows(
    gridRow,
    await db.$queryRaw`
    select array_agg(state order by index) filter (where index < ${maxGridShards}) as states,
           array_agg(attempt_id order by index) filter (where index < ${maxGridShards}) as attempts,
           array_agg(coalesce(round(10 * ((seconds ->> 'read')::float8 + (seconds ->> 'decode')::float8 + (seconds ->> 'infer')::float8
             + (seconds ->> 'write')::float8)), -1)::int order by index) filter (where index < ${maxGridShards}) as tenths,
           array_agg(coalesce(rejected, 0) order by index) filter (where index < ${maxGridShards}) as rejected,
           array_agg(tries order by index) filter (where index < ${maxGridShards}) as tries,
           coalesce(sum(count), 0)::text as images,
           count(*) filter (where state = 'leased')::int as leased,
           coalesce(sum(count) filter (where committed_at > now() - make_interval(secs => ${rateSeconds})), 0)::text as recent,
           least(${rateSeconds}, extract(epoch from now() - coalesce(${step.startedAt}::timestamptz, now())))::text as "recentSeconds"
      from shard where step_id = ${step.id}`,
  );
  const workers = readRows(
    workerRow,
    await db.$queryRaw`
    select a.id, a.ordinal, a.place, a.state, a.started_at as "startedAt", a.ended_at as "endedAt",
           (count(*) filter (where s.state = 'committed'))::int as shards,
           coalesce(sum(s.count) filter (where s.state = 'committed'), 0)::text as images,
           jsonb_build_object('read', coalesce(sum((s.seconds ->> 'read')::float8), 0), 'decode', coalesce(sum((s.seconds ->> 'decode')::float8), 0),
             'infer', coalesce(sum((s.seconds ->> 'infer')::float8), 0), 'write', coalesce(sum((s.seconds ->> 'write')::float8), 0)) as seconds,
           sum((s.work ->> 'bytesRead')::bigint)::text as "bytesRead", max(s.work ->> 'device') as device
      from shard s join attempt a on a.id = s.attempt_id where s.step_id = ${step.id}
     group by a.id order by a.ordinal limit ${maxWorkers}`,
  );
  // As the ledger counts: from the start of an attempt to its end, at the price of its pool.
  const [held] = readRows(
    heldRow,
    await db.$queryRaw`
    select coalesce(sum(seconds), 0)::float8 as "gpuSeconds", (sum(seconds * price) / 3600)::float8 as cost
      from (select a.slots * extract(epoch from coalesce(a.ended_at, now()) - a.started_at) as seconds,
                   coalesce(a.gpu_hour_price, case when a.ended_at is null then p.gpu_hour_price end) as price
              from attempt a left join pool p on p.name = a.pool
             where a.step_id = ${step.id} and a.pool <> 'tasks' and a.started_at is not null) a`,
  );
  const { states, attempts, tenths, rejected, tries, images = 0, leased = 0, recent = 0, recentSeconds = 0 } = grid ?? {};
  const placeOf = new Map(workers.map(({ id }, at) => [id, at]));
  const counts = { total: step.shardsTotal ?? 0, committed: step.shardsCommitted, leased, rows: step.rows, rejected: step.rejected };
  const isOpen = step.finishedAt === null && counts.committed < counts.total;
  const rate = isOpen && recent > 0 && recentSeconds > 0 ? recent / recentSeconds : null;
  const done = step.rows + step.rejected;
  return {
    asOf: new Date().toISOString(),
    counts,
    images,
    states: (states ?? []).map((state) => shardState.options.indexOf(state)),
    workers: (attempts ?? []).map((id) => (id === null ? -1 : (placeOf.get(id) ?? -1))),
    tenths: tenths ?? [],
    rejected: rejected ?? [],
    tries: tries ?? [],
    attempts: workers.map(({ state, startedAt, endedAt, ...worker }) => ({
      ...worker,
      isLive: isLiveAttempt(state),
      startedAt: isoTimeOrNull(startedAt),
      endedAt: isoTimeOrNull(endedAt),
    })),
    rate,
    etaSeconds: rate === null ? null : Math.max(0, images - done) / rate,
    gpuSeconds: held?.gpuSeconds ?? 0,
    cost: held?.cost ?? null,
    proof: proofOf({ ...counts, images }, step.artifact?.state === 'ready'),
  };
}

const count = (value: number): string => value.toLocaleString('en-GB');
const amount = (value: number, one: string): string => `${count(value)} ${value === 1 ? one : `${one}s`}`;

/** The count proof of a fleet in words. */
function proofOf({ total, committed, rows, rejected, images }: ShardGrid['counts'] & { images: number }, isReady: boolean): string {
  if (total === 0) return 'The shards are not planned yet.';
  const sum = `${amount(rows, 'row')} + ${count(rejected)} rejected = ${count(rows + rejected)}`;
  if (committed < total) {
    const open = images - rows - rejected;
    return `${count(committed)} of ${amount(total, 'shard')} are committed: ${sum} of ${amount(images, 'image')}; ${count(open)} are open.`;
  }
  if (rows + rejected !== images) return `The counts do not add up: ${sum}, but the list has ${amount(images, 'image')}.`;
  const read = 'each shard was read back and has each id of its part of the list once';
  const ready = isReady ? 'No image is missing' : 'All shards are committed';
  return `${ready}: ${sum}, as many as the list has distinct images; ${read}.`;
}

/** The file of a shard's rejected images. */
export type RejectedFile = { shard: number; count: number; name: string; key: string; bytes: number; sha256: string };

const stagedColumn = z.array(z.object({ name: z.string(), key: z.string(), bytes: z.number(), sha256: z.string() }));

/** The files of the shards with rejected images, from the shard `from` on, and how many images all of them have. */
export async function listRejectedFiles(
  db: Transaction,
  { from, limit, ...args }: StepArgs & { from: number; limit: number },
): Promise<{ files: RejectedFile[]; total: number; dataset: string }> {
  const step = await fleetStep(db, args);
  const rows = await db.shard.findMany({
    where: { stepId: step.id, index: { gte: from }, state: 'committed', rejected: { gt: 0 } },
    orderBy: { index: 'asc' },
    take: limit,
    select: { index: true, rejected: true, files: true },
  });
  const { artifact } = step;
  const files = rows.flatMap(({ index, rejected, files: stored }): RejectedFile[] => {
    const staged = readColumn(stagedColumn, stored, `shard ${index} of step ${step.id} files`).find(({ name }) =>
      name.startsWith('rejected/'),
    );
    if (staged === undefined) return [];
    // Once the set is made, its parts are no longer staged.
    const made =
      artifact?.state === 'ready' ? (fileOfArtifact(artifact, staged.name)?.key ?? `${artifact.prefix}${staged.name}`) : staged.key;
    return [{ shard: index, count: rejected ?? 0, ...staged, key: made }];
  });
  const { name, version } = step.run.dataset;
  return { files, total: step.rejected, dataset: `${name}@${version}` };
}

/** Who holds slots, what waits for them and why, and the queues; over all projects, as admission is. */
export async function loadFleetWork(db: Transaction, admission: AdmissionSource = () => loadAdmission(db)): Promise<FleetWork> {
  const view = await admission();
  const { running } = view.waiting;
  const held = running.toSorted((a, b) => a.startedAt - b.startedAt).slice(0, maxFleetWork);
  const places = await db.attempt.findMany({
    where: { id: { in: held.map(({ attemptId }) => attemptId) } },
    select: { id: true, place: true },
  });
  const placeOf = new Map(places.map(({ id, place }) => [id, place]));
  const waiting = view.waiting.waiting.toSorted((a, b) => b.priority - a.priority || a.readyAt - b.readyAt);
  return {
    holders: held.map(({ runId, runName, stepName, owner, attemptId, pool, slots, stopping, startedAt }) => ({
      ...{ run: { id: runId, name: runName }, step: stepName, owner, attemptId, pool, slots },
      place: placeOf.get(attemptId) ?? null,
      isStopping: stopping,
      since: isoTime(new Date(startedAt)),
    })),
    holdersTotal: running.length,
    waiting: waiting.slice(0, maxFleetWork).map(({ stepId, runId, runName, name, owner, pool, slots, priority, readyAt }) => ({
      ...{ run: { id: runId, name: runName }, step: name, owner, pool, slots, priority },
      sentence: sentenceOf(stepId, view),
      since: isoTime(new Date(readyAt)),
    })),
    waitingTotal: waiting.length,
    queues: await loadQueues(db),
  };
}

/** The same as on the page of the run. */
function sentenceOf(stepId: string, { reasons, leader }: AdmissionView): string {
  if (!leader.isAlive) return 'no controller is running, so nothing is started';
  return reasons.get(stepId)?.sentence ?? 'it fits now; the controller starts it next';
}

const queueRow = z.object({
  name: servedQueue,
  depth: z.number().int(),
  oldestAt: z.date().nullable(),
  undelivered: z.number().int(),
});

/** By the rows, which are the truth: entries of a queue may be lost or delivered twice. */
async function loadQueues(db: Transaction): Promise<FleetWork['queues']> {
  const rows = await db.$queryRaw`
    with work as (
      select case when pool = 'tasks' then 'tasks' else 'launch' end as queue, created_at as at from attempt where state = 'created'
      union all
      select 'finalize', coalesce((select max(ended_at) from attempt where step_id = step.id), ready_at) from step
       where finalizing and state = 'active' and shards_total is null
      union all
      select 'judge', finished_at from run where gate_state = 'judging'
      union all
      select 'deliver', created_at from delivery where state = 'pending' and not_before <= now())
    select name, count(work.at)::int as depth, min(work.at) as "oldestAt",
           (select count(*)::int from outbox where outbox.queue = name) as undelivered
      from unnest(${servedQueue.options}::text[]) with ordinality as queues (name, position)
      left join work on work.queue = name
     group by name, position order by position`;
  return readRows(queueRow, rows).map(({ oldestAt, ...queue }) => ({ ...queue, oldestAt: isoTimeOrNull(oldestAt) }));
}
