import {
  type BudgetState,
  type BudgetView,
  budgetPeriod,
  budgetScope,
  CairnError,
  type LedgerAmounts,
  type LedgerGrouping,
  type LedgerPage,
  type LedgerProperty,
  type LedgerRow,
  type LossCause,
  labelOfGrouping,
  labelsOf,
  ledgerProperty,
  lossCause,
  unheldRunStates,
} from '@cairn/contract';
import { z } from 'zod';
import { listOfStates, liveAttempts, type Transaction } from '../client.ts';
import { Prisma, type PrismaClient } from '../generated/client.ts';
import { isoTime, readColumn, readRows } from './columns.ts';
import { decodeCursor, encodeCursor, keyText, type PageArgs } from './page-cursor.ts';

type LedgerQuery = {
  projectId: string;
  by: LedgerGrouping;
  from?: string | undefined;
  to?: string | undefined;
  owner?: string | undefined;
  run?: string | undefined;
  /** `key=value`. */
  label?: string | undefined;
};
type LedgerArgs = LedgerQuery & PageArgs;

const nothing = Prisma.sql`''`;

/**
 * For each grouping: the key of a row and its name, from the columns of an attempt `a` or, for what reuse saved, of a reused step alone;
 * and the run it belongs to.
 */
type Grouping = Record<'attempt' | 'reused' | 'name' | 'reusedName' | 'run', Prisma.Sql>;

const none = Prisma.sql`null`;
const ofRun = (column: Prisma.Sql): Grouping => ({ attempt: column, reused: column, name: column, reusedName: column, run: none });
const ofAttempt = (column: Prisma.Sql): Grouping => ({ attempt: column, reused: nothing, name: column, reusedName: nothing, run: none });

const groupings = {
  owner: ofRun(Prisma.sql`r.owner`),
  run: { ...ofRun(Prisma.sql`r.id`), name: Prisma.sql`r.name`, reusedName: Prisma.sql`r.name`, run: Prisma.sql`r.id` },
  step: ofRun(Prisma.sql`s.name`),
  attempt: { ...ofAttempt(Prisma.sql`a.id`), name: Prisma.sql`r.name || '/' || s.name || '/' || a.ordinal`, run: Prisma.sql`r.id` },
  pool: ofAttempt(Prisma.sql`a.pool`),
  cause: ofAttempt(Prisma.sql`coalesce(loss, '')`),
} as const satisfies Record<LedgerProperty, Grouping>;

function groupingOf(by: LedgerGrouping): Grouping {
  const label = labelOfGrouping(by);
  return label === null ? groupings[ledgerProperty.parse(by)] : ofRun(Prisma.sql`coalesce(r.labels->>${label}, '')`);
}

/** What the rows without a key are. */
const unnamed = {
  ...{ owner: '(unknown)', run: '(unknown)', step: '(unknown)' },
  ...{ attempt: '(reused results)', pool: '(reused results)', cause: '(no failure)' },
} as const satisfies Record<LedgerProperty, string>;
const unnamedOf = (by: LedgerGrouping): string =>
  labelOfGrouping(by) === null ? unnamed[ledgerProperty.parse(by)] : '(without this label)';

/** The cause of a loss; one that a later release wrote counts as the infrastructure's, so that its time is in the sum. */
const lossOf = Prisma.sql`case a.state when 'cancelled' then 'cancelled' when 'preempted' then 'preemption'
  when 'failed' then failed.cause when 'lost' then failed.cause end`;
const causes = listOfStates(lossCause.options);

const amountsRow = z.object({
  held: z.number(),
  useful: z.number(),
  running: z.number(),
  lost: z.number(),
  lostBy: z.record(z.string(), z.number()),
  idle: z.number(),
  queued: z.number(),
  saved: z.number(),
  cost: z.number().nullable(),
  savedCost: z.number().nullable(),
});
const ledgerRows = amountsRow.extend({ isTotal: z.boolean(), key: z.string(), name: z.string().nullable(), runId: z.string().nullable() });

const cursorTime = z.iso
  .datetime()
  .max(64)
  .transform((text) => new Date(text));
const cursorKey = z.tuple([cursorTime, z.number().int().min(0), keyText]);

/** The milliseconds times slots that a stretch of an attempt has in the period. */
const within = (first: Prisma.Sql, last: Prisma.Sql, from: Date, to: Date): Prisma.Sql =>
  Prisma.sql`a.slots * ms_between(greatest(${first}, ${from}::timestamptz), least(${last}, ${to}::timestamptz))`;

/**
 * The GPU time of a period, added up by one property in SQL. Time is counted in whole milliseconds, and a stretch that is partly in the
 * period counts partly: consecutive periods have the sum of the whole.
 *
 * @throws CairnError `invalid_request` when the period ends before it begins
 */
export async function readLedger(prisma: PrismaClient, { limit, cursor, ...query }: LedgerArgs, now = new Date()): Promise<LedgerPage> {
  const after = decodeCursor(cursor, cursorKey);
  const asOf = after === null ? now : after[0];
  const { from, to } = periodOf(query, asOf);
  const position =
    after === null ? Prisma.empty : Prisma.sql`and (held < ${after[1]}::bigint or (held = ${after[1]}::bigint and key > ${after[2]}))`;
  const rows = readRows(
    ledgerRows,
    await withoutJit(
      prisma,
      (tx) => tx.$queryRaw`
        ${addedUp(query, { from, to, asOf })},
        shown as (select false as "isTotal", added.* from added where true ${position} order by held desc, key limit ${limit + 1})
        select "isTotal", ${columns} from (select true as "isTotal", ${totalColumns} from added union all select * from shown) found
         order by "isTotal" desc, found.held desc, key`,
    ),
  );
  const items = rows.filter((row) => !row.isTotal);
  const shown = items.slice(0, limit);
  const last = shown.at(-1);
  const [total = emptyAmounts] = rows.filter((row) => row.isTotal).map(amountsOf);
  return {
    by: query.by,
    from: isoTime(from),
    to: isoTime(to),
    asOf: isoTime(asOf),
    total,
    items: shown.map((row) => ledgerRowOf(row, query.by)),
    nextCursor: items.length > limit && last !== undefined ? encodeCursor([isoTime(asOf), last.held, last.key]) : null,
  };
}

const exportedTogether = 1_000;
const exportTimeoutMs = 5 * 60_000;

/**
 * All rows of {@link readLedger} in its order, a thousand at a time, from one query: `onRows` is awaited.
 *
 * @throws CairnError as {@link readLedger}; what `onRows` throws
 */
export async function exportLedger(
  prisma: PrismaClient,
  query: LedgerQuery,
  onRows: (rows: LedgerRow[]) => Promise<void>,
  now = new Date(),
): Promise<void> {
  const period = periodOf(query, now);
  await withoutJit(
    prisma,
    async (tx) => {
      await tx.$executeRaw`
        declare ledger_row no scroll cursor for ${addedUp(query, { ...period, asOf: now })}
        select false as "isTotal", ${columns} from added order by added.held desc, key`;
      for (;;) {
        const rows = readRows(ledgerRows, await tx.$queryRaw`fetch ${Prisma.raw(String(exportedTogether))} from ledger_row`);
        await onRows(rows.map((row) => ledgerRowOf(row, query.by)));
        if (rows.length < exportedTogether) return;
      }
    },
    exportTimeoutMs,
  );
}

/** In a transaction without PostgreSQL's compiler, which takes a quarter of a second for such a query and saves less. */
function withoutJit<T>(prisma: PrismaClient, work: (tx: Transaction) => Promise<T>, timeoutMs = 30_000): Promise<T> {
  const inside = async (tx: Transaction): Promise<T> => {
    await tx.$executeRaw`set local jit = off`;
    return work(tx);
  };
  return prisma.$transaction(inside, { timeout: timeoutMs, maxWait: 10_000 });
}

function periodOf(given: Pick<LedgerQuery, 'from' | 'to'>, asOf: Date): { from: Date; to: Date } {
  const from = new Date(given.from ?? Date.UTC(asOf.getUTCFullYear(), asOf.getUTCMonth()));
  const to = new Date(given.to ?? asOf);
  if (to < from) throw new CairnError('invalid_request', `the period ends at ${isoTime(to)}, before it begins at ${isoTime(from)}`);
  return { from, to };
}

/** The tables of a query: `added` has a row for each key, and one for the total. */
function addedUp({ projectId, by, owner, run, label }: LedgerQuery, { from, to, asOf }: { from: Date; to: Date; asOf: Date }): Prisma.Sql {
  // Nothing is known of the time after the first page.
  const until = to < asOf ? to : asOf;
  const group = groupingOf(by);
  const ofRuns = Prisma.sql`r.project_id = ${projectId}
    ${owner === undefined ? Prisma.empty : Prisma.sql`and r.owner = ${owner}`} ${run === undefined ? Prisma.empty : Prisma.sql`and r.id = ${run}`}
    ${label === undefined ? Prisma.empty : Prisma.sql`and r.labels @> ${JSON.stringify(labelsOf([label]))}::jsonb`}`;
  const stretch = (first: Prisma.Sql, last: Prisma.Sql) => within(first, last, from, until);
  return Prisma.sql`
    with time as (
      select ${group.attempt} as key, ${group.name} as name, ${group.run} as "runId", loss, a.ended_at is null as live,
             coalesce(a.gpu_hour_price, case when a.ended_at is null then p.gpu_hour_price end) as price,
             ${stretch(Prisma.sql`b.queued`, Prisma.sql`b.created`)} as queued,
             ${stretch(Prisma.sql`b.created`, Prisma.sql`b.ended`)} as held,
             ${stretch(Prisma.sql`b.started`, Prisma.sql`b.kept`)} as useful,
             ${stretch(Prisma.sql`b.kept`, Prisma.sql`b.gone`)} as unkept,
             ${stretch(Prisma.sql`b.created`, Prisma.sql`b.started`)} + ${stretch(Prisma.sql`b.gone`, Prisma.sql`b.ended`)} as idle,
             0::bigint as saved, null::float8 as "savedCost"
        from attempt a
        join step s on s.id = a.step_id
        join run r on r.id = a.run_id
        left join pool p on p.name = a.pool
       cross join lateral attempt_bounds(a, ${asOf}::timestamptz) b
       cross join lateral (select case when a.failure->>'cause' in ${causes} then a.failure->>'cause' else 'infrastructure' end as cause) failed
       cross join lateral (select ${lossOf} as loss) ended
       where a.pool <> 'tasks' and (a.ended_at > ${from} or a.ended_at is null) and b.queued < ${until} and ${ofRuns}
      union all
      select ${group.reused}, ${group.reusedName}, ${by === 'attempt' ? none : group.run}, null, false, null, 0, 0, 0, 0, 0, s.saved_gpu_ms, s.saved_cost
        from step s join run r on r.id = s.run_id
       where s.saved_gpu_ms is not null and s.finished_at >= ${from} and s.finished_at < ${until} and ${ofRuns}
    ), added as (
      select key, max(name collate "C") as name, max("runId" collate "C") as "runId", sum(held)::bigint as held, sum(useful)::float8 as useful,
             coalesce(sum(unkept) filter (where live), 0)::float8 as running, coalesce(sum(unkept) filter (where not live), 0)::float8 as lost,
             ${causesLost}, sum(idle)::float8 as idle, sum(queued)::float8 as queued, sum(saved)::float8 as saved,
             sum(held * price / 3600000) as cost, sum("savedCost") as "savedCost"
        from time group by key
    )`;
}

const lostTo = (cause: LossCause): string => `"lost_${cause}"`;
const eachCause = (text: (cause: LossCause) => string): string => lossCause.options.map(text).join(', ');
const causesLost = Prisma.raw(
  eachCause((cause) => `coalesce(sum(unkept) filter (where not live and loss = '${cause}'), 0)::float8 as ${lostTo(cause)}`),
);
/** The row of the total, with the columns of `added`: from these rows, because adding up everything twice takes twice as long. */
const added = ['useful', 'running', 'lost', ...lossCause.options.map(lostTo), 'idle', 'queued', 'saved'];
const totalColumns = Prisma.raw(
  `'' as key, null as name, null as "runId", coalesce(sum(held), 0)::bigint as held,
   ${added.map((column) => `coalesce(sum(${column}), 0) as ${column}`).join(', ')}, sum(cost) as cost, sum("savedCost") as "savedCost"`,
);
const columns = Prisma.raw(
  `key, name, "runId", held::float8 as held, useful, running, lost, jsonb_build_object(${eachCause((cause) => `'${cause}', ${lostTo(cause)}`)}) as "lostBy",
   idle, queued, saved, cost, "savedCost"`,
);

const ledgerRowOf = (row: z.infer<typeof ledgerRows>, by: LedgerGrouping): LedgerRow => ({
  key: row.key,
  name: row.key === '' ? unnamedOf(by) : (row.name ?? row.key),
  runId: row.runId,
  ...amountsOf(row),
});

const seconds = (ms: number): number => ms / 1000;

function amountsOf({
  held,
  useful,
  running,
  lost,
  lostBy,
  idle,
  queued,
  saved,
  cost,
  savedCost,
}: z.infer<typeof amountsRow>): LedgerAmounts {
  return {
    ...{ held: seconds(held), useful: seconds(useful), running: seconds(running), lost: seconds(lost), idle: seconds(idle) },
    ...{ queued: seconds(queued), saved: seconds(saved), cost, savedCost },
    lostBy: Object.fromEntries(lossCause.options.map((cause) => [cause, seconds(lostBy[cause] ?? 0)])) as Record<LossCause, number>,
  };
}

const emptyAmounts: LedgerAmounts = amountsOf({
  ...{ held: 0, useful: 0, running: 0, lost: 0, lostBy: {}, idle: 0, queued: 0, saved: 0, cost: null, savedCost: null },
});

const useRow = z.object({
  scope: z.string(),
  gpuMs: z.number(),
  per: budgetPeriod,
  warnPercent: z.number().int(),
  createdBy: z.string(),
  updatedAt: z.date(),
  noted: z.string().nullable(),
  usedMs: z.number(),
  expectedMs: z.number(),
});

export type BudgetUse = BudgetView & {
  /** The last state of a period that was noted in a run's history, as `2026-11 warned`. */
  noted: string | null;
};

/** The beginning of the calendar month, in UTC. */
export const monthOf = (now: Date): Date => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth()));

/** The run `r` is one of the budget `b`. */
export const isOfBudget = Prisma.sql`case when b.scope like 'owner:%' then r.owner = substr(b.scope, 7)
  else r.labels @> jsonb_build_object(split_part(substr(b.scope, 7), '=', 1), split_part(b.scope, '=', 2)) end`;

/**
 * What counts against each budget: GPU time that attempts of its runs have held in the period, and what its live runs are still expected to
 * take. A run that a budget holds takes nothing; one that waits for its group will start by itself.
 *
 * @param run only the budgets of a run with this owner and these labels
 */
export async function readBudgets(
  db: Transaction,
  projectId: string,
  run: { owner: string; labels: Readonly<Record<string, string>> } | null = null,
  now = new Date(),
): Promise<BudgetUse[]> {
  const from = monthOf(now);
  const scopes = run === null ? null : [`owner:${run.owner}`, ...Object.entries(run.labels).map(([key, value]) => `label:${key}=${value}`)];
  const rows = await db.$queryRaw`
    select b.scope, b.gpu_ms::float8 as "gpuMs", b.per, b.warn_percent as "warnPercent", b.created_by as "createdBy",
           b.updated_at as "updatedAt", b.noted, coalesce(ended.ms, 0)::float8 + coalesce(live.ms, 0)::float8 as "usedMs",
           coalesce(live.expected, 0)::float8 as "expectedMs"
      from budget b
      left join lateral (
        select sum(r.held_gpu_ms) as ms from run r where b.per = 'total' and r.project_id = b.project_id and ${isOfBudget}
        union all
        select sum(a.slots * ms_between(greatest(a.created_at, ${from}), a.ended_at))
          from attempt a join run r on r.id = a.run_id
         where b.per = 'month' and a.pool <> 'tasks' and a.ended_at > ${from} and r.project_id = b.project_id and ${isOfBudget}
         order by 1 nulls last limit 1) ended on true
      left join lateral (
        select sum(t.ms) as ms, sum(greatest(0, coalesce(r.expected_gpu_ms, 0) - r.held_gpu_ms - t.whole)) as expected
          from run r cross join lateral (
            select coalesce(sum(a.slots * ms_between(case b.per when 'month' then greatest(a.created_at, ${from}) else a.created_at end, ${now})), 0) as ms,
                   coalesce(sum(a.slots * ms_between(a.created_at, ${now})), 0) as whole
              from attempt a where a.run_id = r.id and a.pool <> 'tasks' and a.state in ${liveAttempts}) t
         where (r.state in ${listOfStates(unheldRunStates)} or (r.state = 'held' and r.hold = 'group')) and r.project_id = b.project_id and ${isOfBudget}) live on true
     where b.project_id = ${projectId} ${scopes === null ? Prisma.empty : Prisma.sql`and b.scope = any(${scopes})`}
     order by b.scope`;
  return readRows(useRow, rows).map(({ scope, gpuMs, usedMs, expectedMs, updatedAt, ...row }) => ({
    ...row,
    scope: readColumn(budgetScope, scope, 'budget scope'),
    gpuHours: gpuMs / 3_600_000,
    usedHours: usedMs / 3_600_000,
    expectedHours: expectedMs / 3_600_000,
    state: stateOf(gpuMs, row.warnPercent, usedMs + expectedMs),
    since: row.per === 'month' ? isoTime(from) : null,
    updatedAt: isoTime(updatedAt),
  }));
}

function stateOf(gpuMs: number, warnPercent: number, counted: number): BudgetState {
  if (counted >= gpuMs) return 'spent';
  return counted >= (gpuMs * warnPercent) / 100 ? 'warned' : 'open';
}
