import { type BudgetScope, type budgetRequest, budgetSentence, CairnError, maxBudgets, type RunLabels } from '@cairn/contract';
import { type BudgetUse, inTransaction, isOfBudget, monthOf, type PrismaClient, readBudgets, type Transaction } from '@cairn/db';
import { rulesOf } from '@cairn/domain';
import type { z } from 'zod';
import { audit } from './audit.ts';
import type { Submission } from './check-submission.ts';
import type { Actor, EngineContext } from './engine.ts';
import { assertLead, type Leadership } from './leader/leadership.ts';
import { planSubmission } from './plan.ts';
import { announceRun, emit } from './run-work.ts';
import { withRun } from './with-run.ts';

/** Whose time a run takes: what budgets go by. */
type Payer = { projectId: string; owner: string; labels: RunLabels };

/** Changes of a project's budgets, and decisions that depend on them, follow each other. */
const lock = (tx: Transaction, projectId: string) =>
  tx.$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`budgets ${projectId}`}, 0))`;

const hasBudget = async (db: PrismaClient | Transaction, { projectId, owner, labels }: Payer): Promise<boolean> => {
  const scopes = [`owner:${owner}`, ...Object.entries(labels).map(([key, value]) => `label:${key}=${value}`)];
  return (await db.budget.count({ where: { projectId, scope: { in: scopes } } })) > 0;
};

/**
 * Why a new run must be held: what a budget of it counts, which is what attempts have held and what live runs are expected to take, has
 * reached the budget. Concurrent decisions follow each other, and each sees the runs that the earlier ones let start.
 */
export async function whyHeld(tx: Transaction, payer: Payer): Promise<string | null> {
  if (!(await hasBudget(tx, payer))) return null;
  await lock(tx, payer.projectId);
  const spent = (await readBudgets(tx, payer.projectId, payer)).filter(({ state }) => state === 'spent');
  return spent.length === 0 ? null : spent.map(budgetSentence).join('; ');
}

/** A run whose time cannot be estimated counts as this long, on the GPUs of its largest step, until it has held more. */
const unknownMs = 3_600_000;

/** What a submission is expected to take, for budgets; null where none asks. */
export async function expectedTime(ctx: EngineContext, submission: Submission, payer: Payer): Promise<number | null> {
  if (!(await hasBudget(ctx.prisma, payer))) return null;
  const { steps, estimate } = await planSubmission(ctx, submission, payer.projectId);
  if (estimate.gpuHours !== null) return Math.round(estimate.gpuHours * 3_600_000);
  const kinds = new Map(submission.plan.map((step) => [step.name, step]));
  const slots = steps.flatMap(({ name, action }) => {
    const step = kinds.get(name);
    return step === undefined || action !== 'run' || rulesOf(step).pool === 'tasks' ? [] : [rulesOf(step).slots];
  });
  return unknownMs * Math.max(0, ...slots);
}

const termsOf = (budget: { gpuMs: bigint; per: string; warnPercent: number } | null) =>
  budget && { gpuHours: Number(budget.gpuMs) / 3_600_000, per: budget.per, warnPercent: budget.warnPercent };

/**
 * Sets or changes a budget. Runs that are held stay so until an admin releases them.
 *
 * @throws CairnError `quota_exceeded` when the project has as many budgets as allowed
 */
export async function setBudget(
  { prisma }: EngineContext,
  scope: BudgetScope,
  { gpuHours, per, warnPercent }: z.output<typeof budgetRequest>,
  actor: Actor,
): Promise<void> {
  const { projectId } = actor;
  await inTransaction(prisma, async (tx) => {
    await lock(tx, projectId);
    const where = { projectId_scope: { projectId, scope } };
    const before = await tx.budget.findUnique({ where });
    if (before === null && (await tx.budget.count({ where: { projectId } })) >= maxBudgets)
      throw new CairnError('quota_exceeded', `the project ${projectId} has ${maxBudgets} budgets, the maximum; remove one`);
    const terms = { gpuMs: BigInt(Math.round(gpuHours * 3_600_000)), per, warnPercent };
    if (before !== null && JSON.stringify(termsOf(before)) === JSON.stringify(termsOf(terms))) return;
    const changed = { ...terms, noted: null, createdBy: actor.name, updatedAt: new Date() };
    await tx.budget.upsert({ where, create: { projectId, scope, ...changed }, update: changed });
    await audit(tx, actor, { action: 'budget.set', target: scope, before: termsOf(before), after: termsOf(terms) });
  });
}

/** @throws CairnError `not_found` */
export async function removeBudget({ prisma }: EngineContext, scope: BudgetScope, actor: Actor): Promise<void> {
  const { projectId } = actor;
  await inTransaction(prisma, async (tx) => {
    await lock(tx, projectId);
    const where = { projectId_scope: { projectId, scope } };
    const before = await tx.budget.findUnique({ where });
    if (before === null) throw new CairnError('not_found', `budget ${scope} not found; list the budgets with \`cairn budget list\``);
    await tx.budget.delete({ where });
    await audit(tx, actor, { action: 'budget.remove', target: scope, before: termsOf(before), after: null });
  });
}

/** Notes in the history of a budget's newest run, once in a period, that the share to warn at is reached, and that it is spent. */
export async function noteBudgets(ctx: EngineContext, lead: Leadership, now = new Date()): Promise<void> {
  const projects = await ctx.prisma.budget.findMany({ distinct: ['projectId'], select: { projectId: true } });
  for (const { projectId } of projects) {
    for (const budget of await readBudgets(ctx.prisma, projectId, null, now)) {
      // One that was spent is not noted again when a run takes less than expected.
      const known = [notedOf(budget, now), notedOf({ ...budget, state: 'spent' }, now)];
      if (budget.state === 'open' || known.includes(budget.noted ?? '')) continue;
      const runId = await newestRun(ctx, projectId, budget.scope);
      if (runId !== null) await noteBudget(ctx, lead, runId, budget, now);
    }
  }
}

const notedOf = ({ per, state }: BudgetUse, now: Date): string =>
  `${per === 'month' ? monthOf(now).toISOString().slice(0, 7) : 'total'} ${state}`;

async function newestRun({ prisma }: EngineContext, projectId: string, scope: string): Promise<string | null> {
  const rows = await prisma.$queryRaw<{ id: string }[]>`
    select r.id from run r join budget b on b.project_id = r.project_id and b.scope = ${scope}
     where r.project_id = ${projectId} and r.state <> 'held' and ${isOfBudget} order by r.updated_at desc limit 1`;
  return rows[0]?.id ?? null;
}

async function noteBudget(ctx: EngineContext, lead: Leadership, runId: string, budget: BudgetUse, now: Date): Promise<void> {
  const { scope, state, usedHours, gpuHours } = budget;
  const noted = notedOf(budget, now);
  await withRun(ctx, runId, async (run) => {
    await assertLead(run.tx, lead);
    const { count } = await run.tx.budget.updateMany({
      where: { projectId: run.projectId, scope, OR: [{ noted: null }, { noted: { not: noted } }] },
      data: { noted },
    });
    if (count === 0) return;
    const what = state === 'spent' ? 'new runs are held' : `${budget.warnPercent} % of it is reached`;
    emit(run, 'budget', `${budgetSentence(budget)}: ${what}`, { scope, state, usedHours, gpuHours });
    if (state !== 'open') announceRun(run, 'budget.reached', { scope, state, usedHours, gpuHours, warnPercent: budget.warnPercent }, scope);
  });
}
