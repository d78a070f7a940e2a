import {
  actionsIn,
  cancelCause,
  holdCause,
  isDoneStep,
  labelsOf,
  liveRunStates,
  type RunListItem,
  type RunSort,
  type RunSortKey,
  type RunState,
  runSort,
  runState,
  runVerdict,
  stepState,
  workingRunStates,
} from '@cairn/contract';
import { z } from 'zod';
import { listOfStates, liveAttempts, type Transaction } from '../client.ts';
import { Prisma } from '../generated/client.ts';
import { contextOf, failureColumn, isoTime, isoTimeOrNull, progressColumn, readColumn, readNullable, readRows } from './columns.ts';
import { holder, holderColumn, holdReason } from './holds.ts';
import { decodeCursor, encodeCursor, keyText, type Page, type PageArgs } from './page-cursor.ts';
import { type AdmissionSource, type ProgressStep, progressOf } from './step-views.ts';
import { loadAdmission } from './waiting.ts';

export type RunListArgs = PageArgs & {
  projectId: string;
  /** Text in the name, the id, the recipe, the owner, the tags or the note. */
  q?: string | undefined;
  state?: readonly RunState[] | undefined;
  recipe?: readonly string[] | undefined;
  owner?: readonly string[] | undefined;
  name?: string | undefined;
  /** `key=value`: all of them. */
  label?: readonly string[] | undefined;
  /** All of them. */
  tag?: readonly string[] | undefined;
  group?: string | undefined;
  createdAfter?: string | undefined;
  createdBefore?: string | undefined;
  sort?: RunSort | undefined;
  admission?: AdmissionSource | undefined;
};

/** The column of each sort key: each has an index by project, this column and the id. */
const sortColumns = {
  createdAt: { column: Prisma.sql`r.created_at`, type: Prisma.sql`timestamptz` },
  updatedAt: { column: Prisma.sql`r.updated_at`, type: Prisma.sql`timestamptz` },
  name: { column: Prisma.sql`r.name`, type: Prisma.sql`text` },
  state: { column: Prisma.sql`r.state`, type: Prisma.sql`text` },
  gpuSeconds: { column: Prisma.sql`r.gpu_seconds`, type: Prisma.sql`float8` },
  mapAt100: { column: Prisma.sql`r.map_best`, type: Prisma.sql`float8` },
} as const satisfies Record<RunSortKey, { column: Prisma.Sql; type: Prisma.Sql }>;

/** The order, the value that it sorts by (as text; null: a run without a score) and the id of the last run of a page. */
const cursorKey = z.tuple([runSort, z.union([keyText, z.number(), z.null()]), keyText]);

/**
 * One page of runs in any order, and the number of all that match. Five statements at most, whatever the number of runs; one more loads
 * why steps wait, if any does.
 */
export async function listRuns(db: Transaction, args: RunListArgs): Promise<Page<RunListItem> & { total: number; position: string }> {
  const sort = args.sort ?? '-createdAt';
  const matching = matches(args);
  // First, so that the rows are at least as new as the position.
  const [{ total, position } = { total: 0, position: '' }] = readRows(
    z.object({ total: z.number().int(), position: z.string() }),
    await db.$queryRaw`select count(*)::int as total, (${positionOf(args.projectId)}) as position from run r where ${matching}`,
  );
  const rows = await readPage(db, { matching, sort, after: cursorOf(args.cursor, sort), count: args.limit + 1 });
  const shown = rows.slice(0, args.limit);
  const steps = await readSteps(db, shown, args.admission ?? (() => loadAdmission(db)));
  const last = shown.at(-1);
  return {
    items: shown.map((row) => itemOf(row, steps.get(row.id) ?? [])),
    nextCursor: rows.length > args.limit && last !== undefined ? encodeCursor([sort, last.key, last.id]) : null,
    total,
    position,
  };
}

/**
 * Changes with every event of a run: the newest time by its index, and the live runs with their events, because a transaction that began
 * earlier may be committed later. Progress alone has no event.
 */
const positionOf = (projectId: string): Prisma.Sql => Prisma.sql`
  select concat_ws(' ', (select extract(epoch from max(updated_at)) from run where project_id = ${projectId}), count(*), sum(seq))
    from run where project_id = ${projectId} and state in ${listOfStates(liveRunStates)}`;

/** Where lists of runs are now: see {@link positionOf}. */
export async function readRunsPosition(db: Transaction, projectId: string): Promise<string> {
  const [row] = readRows(z.object({ position: z.string() }), await db.$queryRaw`select (${positionOf(projectId)}) as position`);
  return row?.position ?? '';
}

function cursorOf(cursor: string | undefined, sort: RunSort): { value: string | number | null; id: string } | null {
  const key = decodeCursor(
    cursor,
    cursorKey.refine(([of]) => of === sort),
  );
  return key === null ? null : { value: key[1], id: key[2] };
}

function matches({ projectId, q, state, recipe, owner, name, label, tag, group, createdAfter, createdBefore }: RunListArgs): Prisma.Sql {
  const like = q === undefined || q === '' ? null : `%${q.replaceAll(/[\\%_]/g, '\\$&')}%`;
  const conditions = [
    Prisma.sql`r.project_id = ${projectId}`,
    ...(state === undefined ? [] : [Prisma.sql`r.state = any(${[...state]})`]),
    ...(recipe === undefined ? [] : [Prisma.sql`r.recipe_name = any(${[...recipe]})`]),
    ...(owner === undefined ? [] : [Prisma.sql`r.owner = any(${[...owner]})`]),
    ...(name === undefined ? [] : [Prisma.sql`r.name = ${name}`]),
    ...(label ?? []).map((text) => Prisma.sql`r.labels @> ${JSON.stringify(labelsOf([text]))}::jsonb`),
    ...(tag === undefined ? [] : [Prisma.sql`r.tags @> ${[...tag]}::text[]`]),
    ...(group === undefined ? [] : [Prisma.sql`r.concurrency_group = ${group}`]),
    ...(createdAfter === undefined ? [] : [Prisma.sql`r.created_at > ${createdAfter}::timestamptz`]),
    ...(createdBefore === undefined ? [] : [Prisma.sql`r.created_at < ${createdBefore}::timestamptz`]),
    ...(like === null
      ? []
      : [
          Prisma.sql`(r.name ilike ${like} or r.id ilike ${like} or r.recipe_name ilike ${like} or r.owner ilike ${like}
            or r.note ilike ${like} or array_to_string(r.tags, ' ') ilike ${like})`,
        ]),
  ];
  return Prisma.join(conditions, ' and ');
}

const pageRow = z.object({
  id: z.string(),
  name: z.string(),
  recipe: z.string(),
  dataset: z.string(),
  owner: z.string(),
  state: runState,
  cause: z.string().nullable(),
  verdict: runVerdict,
  priority: z.number().int(),
  cancelCause: cancelCause.nullable(),
  hold: holdCause.nullable(),
  holder,
  origin: z.unknown(),
  source: z.unknown(),
  labels: z.unknown(),
  group: z.string().nullable(),
  onNewer: z.string(),
  seq: z.number().int(),
  createdAt: z.date(),
  startedAt: z.date().nullable(),
  finishedAt: z.date().nullable(),
  updatedAt: z.date(),
  mapBest: z.number().nullable(),
  mapLast: z.number().nullable(),
  gpuSeconds: z.number(),
  tags: z.array(z.string()),
  noteLine: z.string().nullable(),
  key: z.union([z.string(), z.number(), z.date().transform((time) => time.toISOString())]).nullable(),
});
type PageRow = z.infer<typeof pageRow>;

type PageOf = { matching: Prisma.Sql; sort: RunSort; after: { value: string | number | null; id: string } | null; count: number };

/** Runs without a score come last in both directions, so they are a second range, with an index of its own. */
async function readPage(db: Transaction, { matching, sort, after, count }: PageOf): Promise<PageRow[]> {
  const isDescending = sort.startsWith('-');
  const { column, type } = sortColumns[runSortKey.parse(isDescending ? sort.slice(1) : sort)];
  const [direction, beyond] = isDescending ? [Prisma.sql`desc`, Prisma.sql`<`] : [Prisma.sql`asc`, Prisma.sql`>`];
  const range = (part: number, condition: Prisma.Sql, key: Prisma.Sql, position: Prisma.Sql) => Prisma.sql`
    (select r.id, ${part}::int as part, ${key} as key from run r where ${matching} and ${condition} and ${position}
      order by ${part === 0 ? Prisma.sql`${column} ${direction}, ` : Prisma.empty} r.id ${direction} limit ${count})`;
  const isNullable = column === sortColumns.mapAt100.column;
  const whole = Prisma.sql`true`;
  const ranges = [
    ...(after?.value === null
      ? []
      : [
          range(
            0,
            isNullable ? Prisma.sql`r.map_best is not null` : whole,
            column,
            after === null ? whole : Prisma.sql`(${column}, r.id) ${beyond} (${after.value}::${type}, ${after.id})`,
          ),
        ]),
    ...(isNullable
      ? [range(1, Prisma.sql`r.map_best is null`, column, after?.value === null ? Prisma.sql`r.id ${beyond} ${after.id}` : whole)]
      : []),
  ];
  const rows = await db.$queryRaw`
    select r.id, r.name, r.recipe_name as recipe, d.name || '@' || d.version as dataset, r.owner, r.state, r.cause, r.verdict, r.priority, r.seq,
           r.origin, r.source, r.labels, r.concurrency_group as "group", r.on_newer as "onNewer",
           r.cancel_cause as "cancelCause", r.hold, ${holderColumn},
           r.created_at as "createdAt", r.started_at as "startedAt", r.finished_at as "finishedAt", r.updated_at as "updatedAt",
           r.map_best as "mapBest", r.map_last as "mapLast", r.gpu_seconds + coalesce(live.seconds, 0)::float8 as "gpuSeconds",
           r.tags, left(split_part(r.note, chr(10), 1), 200) as "noteLine", wanted.key
      from (select * from (${Prisma.join(ranges, ' union all ')}) ranges order by part, key ${direction}, id ${direction} limit ${count}) wanted
      join run r on r.id = wanted.id
      join dataset d on d.id = r.dataset_id
      left join lateral (
        select sum(a.slots * extract(epoch from now() - a.started_at)) as seconds from attempt a
         where a.run_id = r.id and a.pool <> 'tasks' and a.state in ${liveAttempts}) live on true
     order by wanted.part, wanted.key ${direction}, r.id ${direction}`;
  return readRows(pageRow, rows);
}

const runSortKey = z.enum(Object.keys(sortColumns) as [RunSortKey, ...RunSortKey[]]);

/** The steps of the runs of a page, and why those of live runs wait. */
async function readSteps(db: Transaction, runs: readonly PageRow[], admission: AdmissionSource): Promise<Map<string, ProgressStep[]>> {
  if (runs.length === 0) return new Map();
  const rows = await db.step.findMany({
    where: { runId: { in: runs.map((run) => run.id) } },
    orderBy: { position: 'asc' },
    select: {
      ...{ id: true, runId: true, name: true, state: true, progress: true, failure: true, shardsTotal: true, shardsCommitted: true },
    },
  });
  const liveRuns = new Set(runs.filter(({ state }) => workingRunStates.some((working) => working === state)).map((run) => run.id));
  const waits = rows.some((step) => step.state === 'ready' && liveRuns.has(step.runId)) ? (await admission()).reasons : null;
  const steps = rows.map((step) => ({
    runId: step.runId,
    name: step.name,
    state: readColumn(stepState, step.state, `step ${step.id} state`),
    progress: readNullable(progressColumn, step.progress, `step ${step.id} progress`),
    shards: step.shardsTotal === null ? null : { total: step.shardsTotal, committed: step.shardsCommitted },
    failure: readNullable(failureColumn, step.failure, `step ${step.id} failure`),
    waiting: waits?.get(step.id) ?? null,
  }));
  return Map.groupBy(steps, (step) => step.runId);
}

function itemOf(
  { createdAt, startedAt, finishedAt, updatedAt, mapBest, mapLast, key: _, holder: other, ...run }: PageRow,
  steps: readonly ProgressStep[],
): RunListItem {
  return {
    ...run,
    ...contextOf(run),
    steps: {
      total: steps.length,
      done: steps.filter(({ state }) => isDoneStep(state)).length,
      reused: steps.filter(({ state }) => state === 'reused').length,
    },
    createdAt: isoTime(createdAt),
    startedAt: isoTimeOrNull(startedAt),
    finishedAt: isoTimeOrNull(finishedAt),
    ...progressOf({ ...run, held: holdReason(run, other) }, steps),
    updatedAt: isoTime(updatedAt),
    mapAt100: { best: mapBest, last: mapLast },
    actions: actionsIn(run.state, { hold: run.hold }),
  };
}
