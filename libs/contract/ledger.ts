import { z } from 'zod';
import { idOf, timestamp } from './names.ts';
import { budgetLabelPattern, labelGroupingPattern, labelText } from './origin.ts';
import { givenTime, pageQuery } from './rest.ts';
import { attemptCause } from './states.ts';
import { writtenText } from './text.ts';

/** Why GPU time was lost: the cause of the failure or the preemption, or that the run was cancelled. */
export const lossCause = z.enum([...attemptCause.options, 'cancelled']);
export type LossCause = z.infer<typeof lossCause>;

/** What the ledger adds up by: a property of the attempts, or the value of a label of their runs. */
export const ledgerProperty = z.enum(['owner', 'run', 'step', 'attempt', 'pool', 'cause']);
export type LedgerProperty = z.infer<typeof ledgerProperty>;
export const ledgerGrouping = z.union([ledgerProperty, z.string().regex(labelGroupingPattern, 'use label:KEY, such as label:team')]);
export type LedgerGrouping = z.infer<typeof ledgerGrouping>;
/** The key of the label that a grouping names; null for a property. */
export const labelOfGrouping = (by: LedgerGrouping): string | null => (by.startsWith('label:') ? by.slice('label:'.length) : null);

/** GET /v1/ledger: GPU time of a period, by one property of the attempts. */
export const ledgerQuery = pageQuery.extend({
  by: ledgerGrouping
    .default('owner')
    .describe('One of these, or `label:KEY`. `step` adds up by the name of the step, over all runs or those of `run` or `owner`.'),
  from: givenTime.optional().describe('The beginning of the period; default: of the current month (UTC).'),
  to: givenTime.optional().describe('The end of the period, not included; default: now.'),
  owner: writtenText(63, { least: 1 }).optional().describe('Only runs of this owner.'),
  run: idOf('run').optional().describe('Only this run.'),
  label: labelText.optional().describe('Only runs with this label, `key=value`.'),
});

/** GPU-seconds: seconds times slots. `held` is the sum of `useful`, `running`, `lost` and `idle`: no second is in two of them. */
export const ledgerAmounts = z.object({
  /** While attempts held their slots. */
  held: z.number(),
  /** Of attempts that succeeded, and of others until they last stored a checkpoint or a shard. */
  useful: z.number(),
  /** Of attempts that still run, since they last stored something. */
  running: z.number(),
  /** Work of attempts that ended otherwise which nothing stored. */
  lost: z.number(),
  lostBy: z.record(lossCause, z.number()),
  /** Slots were held, but no program ran: before the attempt started, and from its last sign of life until it was known to be gone. */
  idle: z.number(),
  /** Waiting for room, times the slots that were waited for; not part of `held`. */
  queued: z.number(),
  /** What the results that steps reused had cost: their useful time; not part of `held`. */
  saved: z.number(),
  /** Of `held` and of `saved`, in the currency of the pools' prices; null where no pool has a price. */
  cost: z.number().nullable(),
  savedCost: z.number().nullable(),
});
export type LedgerAmounts = z.infer<typeof ledgerAmounts>;

export const ledgerRow = ledgerAmounts.extend({
  /** The id of a run or an attempt, or the name; empty for what has none, such as time that no failure ended. */
  key: z.string(),
  /** For people. */
  name: z.string(),
  runId: idOf('run').nullable(),
});
export type LedgerRow = z.infer<typeof ledgerRow>;

/** The rows that held most come first; `total` is over all pages. */
export const ledgerPage = z.object({
  by: ledgerGrouping,
  from: timestamp,
  to: timestamp,
  /** Until when attempts that still run are counted: the time of the first page. */
  asOf: timestamp,
  total: ledgerAmounts,
  items: z.array(ledgerRow),
  nextCursor: z.string().nullable(),
});
export type LedgerPage = z.infer<typeof ledgerPage>;

/** What a budget is for: the runs of an owner (`owner:anna`), or those with a label (`label:team=search`). */
export const budgetScope = z.union([
  z.string().regex(/^owner:[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'use owner:NAME or label:KEY=VALUE'),
  z.string().regex(budgetLabelPattern, 'use owner:NAME or label:KEY=VALUE'),
]);
export type BudgetScope = z.infer<typeof budgetScope>;

export const budgetPeriod = z.enum(['month', 'total']);
export type BudgetPeriod = z.infer<typeof budgetPeriod>;

/** PUT /v1/budgets/:scope: sets or changes a budget. */
export const budgetRequest = z.strictObject({
  gpuHours: z.number().min(0).max(100_000_000),
  /** `month` starts again with each calendar month of UTC. */
  per: budgetPeriod.default('month'),
  /** From this share of it on, it needs attention. */
  warnPercent: z.number().int().min(1).max(100).default(80),
});

/** Most budgets of a project. */
export const maxBudgets = 200;

/** `warned`: the share to warn at is reached. `spent`: new runs are held. */
export const budgetState = z.enum(['open', 'warned', 'spent']);
export type BudgetState = z.infer<typeof budgetState>;

export const budgetView = z.object({
  scope: budgetScope,
  gpuHours: z.number(),
  per: budgetPeriod,
  warnPercent: z.number().int(),
  state: budgetState,
  /** What attempts of its runs held in this period, those that run included, in GPU-hours. */
  usedHours: z.number(),
  /** What its live runs are still expected to take. Together with what is used, it counts against the budget. */
  expectedHours: z.number(),
  /** Since when it counts; null for a total. */
  since: timestamp.nullable(),
  createdBy: z.string(),
  updatedAt: timestamp,
});
export type BudgetView = z.infer<typeof budgetView>;
export const budgetList = z.object({ items: z.array(budgetView) });

/** GPU-hours without their unit, in about three digits: `0`, `< 0.01`, `0.02`, `4.1`, `1,204`. */
export function gpuHoursText(hours: number): string {
  if (hours > 0 && hours < 0.01) return '< 0.01';
  return new Intl.NumberFormat('en-GB', { maximumFractionDigits: hours < 1 ? 2 : hours < 100 ? 1 : 0 }).format(hours);
}

/** `anna has used 201 of 200 GPU-hours of this month, and its live runs are expected to take 4 more`: of the caller's choice to end. */
export function budgetSentence({
  scope,
  gpuHours,
  per,
  usedHours,
  expectedHours,
}: Omit<BudgetView, 'state' | 'warnPercent' | 'createdBy' | 'updatedAt'>): string {
  const of = `${gpuHoursText(usedHours)} of ${gpuHoursText(gpuHours)} GPU-hours ${per === 'month' ? 'of this month' : 'in total'} are used`;
  const more = expectedHours === 0 ? '' : `, and live runs are expected to take ${gpuHoursText(expectedHours)} more`;
  return `the budget ${scope}: ${of}${more}`;
}
