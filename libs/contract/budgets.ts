import { z } from 'zod';
import { timestamp } from './names.ts';
import { budgetLabelPattern } from './origin.ts';

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
  /** `month` begins anew with each calendar month of UTC. */
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

/** `anna has used 201.0 of 200 GPU-hours of this month, and its live runs are expected to take 4.0 more`: of the caller's choice to end. */
export function budgetSentence({
  scope,
  gpuHours,
  per,
  usedHours,
  expectedHours,
}: Omit<BudgetView, 'state' | 'warnPercent' | 'createdBy' | 'updatedAt'>): string {
  const of = `${usedHours.toFixed(1)} of ${Number(gpuHours.toFixed(1))} GPU-hours ${per === 'month' ? 'of this month' : 'in total'} are used`;
  const more = expectedHours === 0 ? '' : `, and live runs are expected to take ${expectedHours.toFixed(1)} more`;
  return `the budget ${scope}: ${of}${more}`;
}
