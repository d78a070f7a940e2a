import { CairnError, overlapPolicy, type ScheduleView, scheduledRun, scheduleOutcome } from '@cairn/contract';
import { nextTimes } from '@cairn/domain';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Schedule } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readColumn, readNullable } from './columns.ts';
import { decodeCursor, keyText, type Page, type PageArgs, pageOf } from './page-cursor.ts';

/** How many of the next times are shown. */
const shownTimes = 5;

/** One page of schedules by name. */
export async function listSchedules(
  db: Transaction,
  { projectId, limit, cursor }: PageArgs & { projectId: string },
  now = new Date(),
): Promise<Page<ScheduleView>> {
  const after = decodeCursor(cursor, z.tuple([keyText]));
  const rows = await db.schedule.findMany({
    where: { projectId, name: { gt: after?.[0] ?? '' } },
    orderBy: { name: 'asc' },
    take: limit + 1,
  });
  return pageOf(
    rows,
    limit,
    (row) => [row.name],
    (row) => scheduleViewOf(row, now),
  );
}

/** @throws CairnError `not_found` */
export async function getSchedule(
  db: Transaction,
  { projectId, name }: { projectId: string; name: string },
  now = new Date(),
): Promise<ScheduleView> {
  const row = await db.schedule.findUnique({ where: { projectId_name: { projectId, name } } });
  if (row === null) throw new CairnError('not_found', `Schedule ${name} not found; list the schedules with \`cairn schedule list\``);
  return scheduleViewOf(row, now);
}

function scheduleViewOf({ projectId: _, ...row }: Schedule, now: Date): ScheduleView {
  const { cron, zone, pausedAt } = row;
  const next = cron === null || pausedAt !== null ? [] : nextTimes({ cron, zone }, now, shownTimes);
  return {
    ...row,
    overlap: readColumn(overlapPolicy, row.overlap, `schedule ${row.id} overlap`),
    run: readColumn(scheduledRun, row.run, `schedule ${row.id} run`),
    createdAt: isoTime(row.createdAt),
    pausedAt: isoTimeOrNull(pausedAt),
    next: next.map(isoTime),
    last: readNullable(scheduleOutcome, row.last, `schedule ${row.id} last`),
  };
}
