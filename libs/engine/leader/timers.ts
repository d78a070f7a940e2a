import { CairnError, isCairnError, liveRunStates, type RunOrigin, type ScheduleOutcome, scheduleOutcome } from '@cairn/contract';
import { inTransaction, type Schedule, type Timer } from '@cairn/db';
import { newestDue, nextTimes } from '@cairn/domain';
import { toJson } from '../columns.ts';
import type { Actor, EngineContext } from '../engine.ts';
import { submissionOf } from '../schedules.ts';
import { submitRun } from '../submit.ts';
import { assertLead, type Leadership } from './leadership.ts';

/** Timers of one round; the next round serves the rest. */
const timersAtOnce = 50;
/** A timer that fails for a reason that may pass, such as an outage, is tried again after 1, 2, 4 ... seconds, at most this often. */
const maxTries = 10;
const maxDelayMs = 60_000;

/**
 * Serves the timers that are due: submits the run of each schedule and sets its next time. A leader that is killed in between submits again,
 * and gets the same run, because the key of the submission is made of the schedule and the time.
 *
 * @throws CairnError `superseded` when the lead was lost
 */
export async function serveTimers(ctx: EngineContext, lead: Leadership, now = new Date()): Promise<void> {
  const due = await ctx.prisma.timer.findMany({
    where: { notBefore: { lte: now } },
    orderBy: [{ notBefore: 'asc' }, { dueAt: 'asc' }],
    take: timersAtOnce,
  });
  for (const timer of due) {
    const schedule = await ctx.prisma.schedule.findUnique({ where: { id: timer.ref } });
    if (schedule === null) {
      await ctx.prisma.timer.deleteMany({ where: { name: timer.name } });
      continue;
    }
    try {
      const job = jobOf(schedule, timer, now);
      const last = timer.tries < maxTries ? await start(ctx, schedule, job, now) : gaveUp(job, now);
      await finish(ctx, lead, { schedule, timer, last, now });
    } catch (error) {
      if (isCairnError(error, 'superseded')) throw error;
      ctx.log.warn({ err: error, schedule: schedule.name, due: timer.dueAt }, 'a run of a schedule could not be submitted; trying again');
      await postpone(ctx, lead, timer, now);
    }
  }
}

/** A run that is due: the key that makes it one, what starts it, and the time or the dataset for which it is due. */
type Job = { key: string; origin: RunOrigin; due: string; dataset: string | null };

function jobOf(schedule: Schedule, timer: Timer, now: Date): Job {
  const { id, name, cron, zone } = schedule;
  if (cron === null) {
    const dataset = timer.name.slice(`dataset:${id}:`.length);
    return { key: timer.name, origin: { kind: 'dataset', dataset, schedule: name }, due: dataset, dataset };
  }
  // After an outage the newest time stands for all that were missed.
  const dueAt = newestDue({ cron, zone }, timer.dueAt, now).toISOString();
  return { key: `schedule:${id}:${dueAt}`, origin: { kind: 'schedule', schedule: name, dueAt, zone }, due: dueAt, dataset: null };
}

async function start(ctx: EngineContext, schedule: Schedule, { key, origin, due, dataset }: Job, now: Date): Promise<ScheduleOutcome> {
  const { projectId, owner, overlap } = schedule;
  const actor: Actor = { projectId, name: owner, tokenId: null, address: 'controller' };
  const at = now.toISOString();
  const request = submissionOf(schedule, dataset);
  const made = await ctx.prisma.run.count({ where: { projectId, idempotencyKey: key } });
  const newer = dataset === null ? null : newerVersion(schedule, dataset);
  if (newer !== null && made === 0) {
    const message = `left out, because ${newer.due} was started already`;
    return { at, due, outcome: 'skipped', runId: newer.runId, code: null, message };
  }
  if (overlap === 'skip' && made === 0) {
    const live = await ctx.prisma.run.findFirst({
      // A run that its budget holds is not in the group.
      where: { projectId, group: request.group ?? null, state: { in: liveRunStates }, OR: [{ hold: null }, { hold: { not: 'budget' } }] },
      select: { id: true, name: true },
    });
    if (live !== null) {
      const message = `left out, because ${live.name} was not over`;
      return { at, due, outcome: 'skipped', runId: live.id, code: null, message };
    }
  }
  try {
    const { runId } = await submitRun(ctx, request, actor, key, origin);
    return { at, due, outcome: 'started', runId, code: null, message: 'started' };
  } catch (error) {
    // What the request or a quota forbids, another try a second later would not change.
    if (!(error instanceof CairnError) || error.code === 'unavailable' || error.code === 'internal') throw error;
    return { at, due, outcome: 'refused', runId: null, code: error.code, message: error.message };
  }
}

/** A later version than `dataset` that the schedule has started: an older one that was postponed must not replace it. */
function newerVersion({ last }: Schedule, dataset: string): { due: string; runId: string | null } | null {
  const { outcome, due = '', runId = null } = scheduleOutcome.safeParse(last).data ?? {};
  const versionOf = (text: string) => Number(text.slice(text.lastIndexOf('@') + 1));
  return outcome === 'started' && versionOf(due) > versionOf(dataset) ? { due, runId } : null;
}

const gaveUp = ({ due }: Job, now: Date): ScheduleOutcome => ({
  ...{ at: now.toISOString(), due, outcome: 'refused', runId: null, code: 'internal' },
  message: `could not be submitted in ${maxTries} tries; the controller's log has the reason`,
});

type Served = { schedule: Schedule; timer: Timer; last: ScheduleOutcome; now: Date };

/** Records the outcome of the run, and sets the next time; nothing when the schedule was paused, removed or served meanwhile. */
async function finish(ctx: EngineContext, lead: Leadership, { schedule, timer, last, now }: Served): Promise<void> {
  const { cron, zone } = schedule;
  const [next] = cron === null ? [] : nextTimes({ cron, zone }, now, 1);
  const where = { name: timer.name, dueAt: timer.dueAt };
  await inTransaction(ctx.prisma, async (tx) => {
    await assertLead(tx, lead);
    const { count } = await (next === undefined
      ? tx.timer.deleteMany({ where })
      : tx.timer.updateMany({ where, data: { dueAt: next, notBefore: next, tries: 0 } }));
    if (count > 0) await tx.schedule.updateMany({ where: { id: schedule.id }, data: { last: toJson(last) } });
  });
}

async function postpone(ctx: EngineContext, lead: Leadership, { name, dueAt, tries }: Timer, now: Date): Promise<void> {
  const notBefore = new Date(now.getTime() + Math.min(maxDelayMs, 1000 * 2 ** tries));
  await inTransaction(ctx.prisma, async (tx) => {
    await assertLead(tx, lead);
    await tx.timer.updateMany({ where: { name, dueAt }, data: { notBefore, tries: tries + 1 } });
  });
}
