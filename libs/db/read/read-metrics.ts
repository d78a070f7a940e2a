import type { CheckpointList, MetricsView } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { Prisma } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readRows } from './columns.ts';
import { findStepRow, type StepArgs } from './steps.ts';

type MetricsArgs = StepArgs & {
  /** Only these metrics; defaults to all. */
  names?: readonly string[] | undefined;
  /** Most points of a series; longer ones are decimated. */
  maxPoints: number;
  /** Only optimizer steps after `after`, from `from` on, up to `to`. */
  after?: number | undefined;
  from?: number | undefined;
  to?: number | undefined;
};

const seriesRow = z.object({
  name: z.string(),
  steps: z.array(z.number()),
  values: z.array(z.number()),
  times: z.array(z.number()),
  total: z.number().int(),
});

/**
 * The curves of a step, merged over its attempts: points of an attempt that resumed from optimizer step k replace the earlier points after
 * k, because those steps were trained again. The attempts of a fleet work in parallel: their points are in order of time. A longer series
 * than `maxPoints` keeps its ends, and the least and the greatest value of each of equally long pieces, so that peaks stay visible.
 */
export async function readMetrics(db: Transaction, args: MetricsArgs): Promise<MetricsView> {
  const step = await findStepRow(db, args);
  const isFleet = step.shardsTotal !== null;
  const wanted = Prisma.join(
    [
      Prisma.sql`c.step_id = ${step.id} and cardinality(c.steps) > 0`,
      ...(args.names === undefined ? [] : [Prisma.sql`c.name = any(${[...args.names]})`]),
    ],
    ' and ',
  );
  // The steps of a chunk ascend, so chunks outside the range need not be unpacked.
  const first = Math.max(args.from ?? -1, args.after === undefined ? -1 : args.after + 1);
  const range = Prisma.join(
    [
      Prisma.sql`c.steps[cardinality(c.steps)] >= ${first} and p.step >= ${first}`,
      ...(args.to === undefined ? [] : [Prisma.sql`c.steps[1] <= ${args.to} and p.step <= ${args.to}`]),
    ],
    ' and ',
  );
  // Of each piece two points are kept, and both ends of the curve.
  const pieces = Math.max(0, Math.floor((args.maxPoints - (isFleet ? 4 : 2)) / 2));
  const along = isFleet ? Prisma.sql`p.time` : Prisma.sql`p.step::float8`;
  const rows = await db.$queryRaw`
    with own as (
      select distinct c.name, c.attempt_id, a.ordinal, coalesce((a.resumed_from ->> 'step')::int, -1) as resumed
        from metric_chunk c join attempt a on a.id = c.attempt_id where ${wanted}),
    valid as (
      select name, attempt_id, ordinal,
             min(resumed) over (partition by name order by ordinal desc rows between unbounded preceding and 1 preceding) as upto from own),
    points as (
      select v.name, ${along} as x, v.ordinal, p.step, p.value, p.time
        from valid v
        join metric_chunk c on c.step_id = ${step.id} and c.name = v.name and c.attempt_id = v.attempt_id
       cross join lateral unnest(c.steps, c.values, c.times) as p(step, value, time)
       where ${range} and (${isFleet} or v.upto is null or p.step <= v.upto)),
    ends as (select name, count(*) as total, min(x) as first, max(x) as last from points group by name),
    pieces as (
      select name, total, min(point) as least, max(point) as greatest
        from (
          select p.name, e.total, array[p.value, p.x, p.ordinal, p.step, p.time] as point,
                 case when e.total <= ${args.maxPoints} then p.x when p.x = e.first then -1 when p.x = e.last then -2
                      when ${pieces} > 0 then floor((p.x - e.first) / (e.last - e.first) * ${pieces}) end as piece,
                 case when e.total <= ${args.maxPoints} then p.ordinal end as single
            from points p join ends e on e.name = p.name) cut
       where piece is not null group by name, total, piece, single),
    kept as (
      select distinct name, total, p from pieces cross join lateral (values (least), (greatest)) as extremes(p))
    select name, total::int, array_agg(p[4]::int order by p[2], p[3], p[4]) as steps, array_agg(p[1] order by p[2], p[3], p[4]) as values,
           array_agg(p[5] order by p[2], p[3], p[4]) as times
      from kept group by name, total order by name`;
  const series = readRows(seriesRow, rows);
  return {
    series,
    decimated: series.some(({ steps, total }) => steps.length < total),
    attempts: await readAttempts(db, wanted, isFleet),
  };
}

const attemptRow = z.object({
  id: z.string(),
  ordinal: z.number().int(),
  resumedFrom: z.number().int().nullable(),
  firstStep: z.number().int(),
  lastStep: z.number().int(),
  startedAt: z.date().nullable(),
  endedAt: z.date().nullable(),
});

/** The attempts that reported points: where the line of one ends and that of the next begins. */
async function readAttempts(db: Transaction, wanted: Prisma.Sql, isFleet: boolean): Promise<MetricsView['attempts']> {
  const rows = await db.$queryRaw`
    select a.id, a.ordinal, (a.resumed_from ->> 'step')::int as "resumedFrom", c.first as "firstStep",
           least(c.last, case when not ${isFleet} then min(coalesce((a.resumed_from ->> 'step')::int, -1))
             over (order by a.ordinal desc rows between unbounded preceding and 1 preceding) end) as "lastStep",
           a.started_at as "startedAt", a.ended_at as "endedAt"
      from (select c.attempt_id, min(c.steps[1]) as first, max(c.steps[cardinality(c.steps)]) as last
              from metric_chunk c where ${wanted} group by c.attempt_id) c
      join attempt a on a.id = c.attempt_id
     order by a.ordinal`;
  return readRows(attemptRow, rows)
    .filter(({ firstStep, lastStep }) => firstStep <= lastStep)
    .map((row) => ({ ...row, startedAt: isoTimeOrNull(row.startedAt), endedAt: isoTimeOrNull(row.endedAt) }));
}

const most = 1_000;

/** The checkpoints that a step's attempts stored, newest first. Those whose files were removed are listed too. */
export async function listCheckpoints(db: Transaction, args: StepArgs): Promise<CheckpointList> {
  const step = await findStepRow(db, args);
  const where = { stepId: step.id };
  const rows = await db.checkpoint.findMany({ where, orderBy: [{ createdAt: 'desc' }, { step: 'desc' }], take: most });
  const attempts = await db.attempt.findMany({ where, select: { id: true, ordinal: true } });
  const ordinals = new Map(attempts.map(({ id, ordinal }) => [id, ordinal]));
  return {
    items: rows.map(({ id, attemptId, step: optimizerStep, epoch, bytes, sha256, final, createdAt, verifiedAt, removedAt }) => ({
      ...{ id, attemptId, ordinal: ordinals.get(attemptId) ?? 0, step: optimizerStep, epoch, bytes: Number(bytes), sha256, final },
      createdAt: isoTime(createdAt),
      verifiedAt: isoTimeOrNull(verifiedAt),
      removedAt: isoTimeOrNull(removedAt),
    })),
    total: await db.checkpoint.count({ where }),
  };
}
