import { CairnError, type RunOrigin, type ScheduleRequest, type SubmitRequest, scheduledRun, submitRequest } from '@cairn/contract';
import { inTransaction, isUniqueViolation, type Schedule, type Transaction } from '@cairn/db';
import { checkCron, nextTimes } from '@cairn/domain';
import { newId } from '@cairn/runtime';
import { audit } from './audit.ts';
import { checkSubmission } from './check-submission.ts';
import { toJson } from './columns.ts';
import type { Actor, EngineContext } from './engine.ts';
import { submitRun } from './submit.ts';

/** Most schedules of a project. */
const maxSchedules = 1_000;

/**
 * Adds a schedule in the actor's name. What it submits is checked now, so that a misspelt setting is not found out at night.
 *
 * @throws CairnError `name_taken`, `invalid_request` (the expression, the time zone), `quota_exceeded`, and as `checkSubmission` does
 */
export async function addSchedule(ctx: EngineContext, request: ScheduleRequest, actor: Actor): Promise<void> {
  const { projectId } = actor;
  const { name, cron, zone, onDataset, overlap, run } = request;
  const now = new Date();
  if (cron !== null) checkCron({ cron, zone }, now);
  await checkSubmission(ctx, submissionOf(request, onDataset), { projectId, mayStartLater: true });
  const id = newId('schedule');
  try {
    await inTransaction(ctx.prisma, async (tx) => {
      if ((await tx.schedule.count({ where: { projectId } })) >= maxSchedules)
        throw new CairnError('quota_exceeded', `The project ${projectId} has ${maxSchedules} schedules, the maximum; remove one`);
      const row = { id, projectId, owner: actor.name, name, cron, zone, onDataset, overlap, run: toJson(run) };
      await tx.schedule.create({ data: row });
      await setTimer(tx, row, now);
      await audit(tx, actor, { action: 'schedule.add', target: name, before: null, after: { cron, zone, onDataset, overlap, run } });
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new CairnError('name_taken', `Schedule ${name} already exists`, {
      cause: error,
      details: { remedy: `See it with \`cairn schedule show ${name}\`; choose another name, or remove it first.` },
    });
  }
}

/** Starts nothing more until the schedule is resumed. What it has started continues. */
export function pauseSchedule(ctx: EngineContext, name: string, actor: Actor): Promise<void> {
  return withSchedule(ctx, name, actor, async (tx, schedule) => {
    if (schedule.pausedAt !== null) return;
    const pausedAt = new Date();
    await tx.schedule.update({ where: { id: schedule.id }, data: { pausedAt } });
    await tx.timer.deleteMany({ where: { ref: schedule.id } });
    await audit(tx, actor, { action: 'schedule.pause', target: name, before: { pausedAt: null }, after: { pausedAt } });
  });
}

/** Continues with the next time from now on; what was due meanwhile is left out. */
export function resumeSchedule(ctx: EngineContext, name: string, actor: Actor): Promise<void> {
  return withSchedule(ctx, name, actor, async (tx, schedule) => {
    if (schedule.pausedAt === null) return;
    await tx.schedule.update({ where: { id: schedule.id }, data: { pausedAt: null } });
    await setTimer(tx, schedule, new Date());
    const before = { pausedAt: schedule.pausedAt };
    await audit(tx, actor, { action: 'schedule.resume', target: name, before, after: { pausedAt: null } });
  });
}

/** Removes a schedule. Its runs stay. */
export function removeSchedule(ctx: EngineContext, name: string, actor: Actor): Promise<void> {
  return withSchedule(ctx, name, actor, async (tx, schedule) => {
    await tx.timer.deleteMany({ where: { ref: schedule.id } });
    await tx.schedule.delete({ where: { id: schedule.id } });
    const { owner, cron, zone, onDataset, overlap, run } = schedule;
    await audit(tx, actor, {
      action: 'schedule.remove',
      target: name,
      before: { owner, cron, zone, onDataset, overlap, run },
      after: null,
    });
  });
}

/** Starts the schedule's run now, in the actor's name. A schedule for a dataset starts with its newest version. */
export async function runSchedule(
  ctx: EngineContext,
  name: string,
  actor: Actor,
  idempotencyKey: string | null,
): Promise<{ runId: string; created: boolean }> {
  const { projectId } = actor;
  const schedule = await ctx.prisma.schedule.findUnique({ where: { projectId_name: { projectId, name } } });
  if (schedule === null) throw scheduleNotFound(name);
  const { onDataset, zone } = schedule;
  const newest =
    onDataset === null ? null : await ctx.prisma.dataset.findFirst({ where: { projectId, name: onDataset }, orderBy: { version: 'desc' } });
  const dataset = newest === null ? onDataset : `${newest.name}@${newest.version}`;
  const origin: RunOrigin =
    dataset === null
      ? { kind: 'schedule', schedule: name, dueAt: new Date().toISOString(), zone }
      : { kind: 'dataset', schedule: name, dataset };
  return submitRun(ctx, submissionOf(schedule, dataset), actor, idempotencyKey, origin);
}

/**
 * Lets the leader start what is bound to the name of a dataset of which a version was registered.
 *
 * @param tx the transaction of the registration, so that no version is forgotten
 */
export async function datasetRegistered(
  tx: Transaction,
  { projectId, name, version }: { projectId: string; name: string; version: number },
  now: Date,
): Promise<void> {
  const bound = await tx.schedule.findMany({ where: { projectId, onDataset: name, pausedAt: null }, select: { id: true } });
  await tx.timer.createMany({
    data: bound.map(({ id }) => ({
      ...{ name: `dataset:${id}:${name}@${version}`, kind: 'dataset', ref: id, dueAt: now, notBefore: now },
    })),
  });
}

/** What a schedule submits, on the dataset that starts it if there is one. */
export function submissionOf(
  { name, overlap, run }: { name: string; overlap: string; run: unknown },
  dataset: string | null,
): SubmitRequest {
  const asked = scheduledRun.parse(run);
  return submitRequest.parse({
    ...asked,
    ...(dataset === null ? {} : { dataset }),
    group: asked.group ?? name,
    onNewer: overlap === 'cancel' ? 'cancel' : 'queue',
  });
}

/** Sets the timer of a schedule to its next time. */
async function setTimer(tx: Transaction, { id, cron, zone }: Pick<Schedule, 'id' | 'cron' | 'zone'>, now: Date): Promise<void> {
  if (cron === null) return;
  const [next] = nextTimes({ cron, zone }, now, 1);
  if (next === undefined) return;
  await tx.timer.create({ data: { name: `schedule:${id}`, kind: 'schedule', ref: id, dueAt: next, notBefore: next } });
}

/** Changes of a schedule follow each other. */
async function withSchedule(
  { prisma }: EngineContext,
  name: string,
  { projectId }: Actor,
  change: (tx: Transaction, schedule: Schedule) => Promise<void>,
): Promise<void> {
  await inTransaction(prisma, async (tx) => {
    await tx.$queryRaw`select 1 from schedule where project_id = ${projectId} and name = ${name} for update`;
    const schedule = await tx.schedule.findUnique({ where: { projectId_name: { projectId, name } } });
    if (schedule === null) throw scheduleNotFound(name);
    await change(tx, schedule);
  });
}

const scheduleNotFound = (name: string): CairnError =>
  new CairnError('not_found', `Schedule ${name} not found; list the schedules with \`cairn schedule list\``);
