import { type BudgetState, type BudgetView, budgetPeriod, budgetScope } from '@cairn/contract';
import { z } from 'zod';
import { liveAttempts, type Transaction } from '../client.ts';
import { Prisma } from '../generated/client.ts';
import { isoTime, readColumn, readRows } from './columns.ts';

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
         where (r.state in ('queued', 'running', 'cancelling') or (r.state = 'held' and r.hold = 'group')) and r.project_id = b.project_id and ${isOfBudget}) live on true
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
