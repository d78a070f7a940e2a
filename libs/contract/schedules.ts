import { z } from 'zod';
import { idOf, safeName, timestamp } from './names.ts';
import { page, submitRequest } from './rest.ts';
import { writtenText } from './text.ts';

// Schedules: runs that start at times of a cron expression, or for new versions of a dataset.

/** What happens when a run is due while an earlier one of the schedule is live. */
export const overlapPolicy = z.enum([
  /** The new run is left out. */
  'skip',
  /** It waits for the earlier one. */
  'queue',
  /** The earlier one is cancelled. */
  'cancel',
]);
export type OverlapPolicy = z.infer<typeof overlapPolicy>;

/** What a schedule submits. `group` is the schedule's name by default, and its policy follows from `overlap`. */
export const scheduledRun = submitRequest.pick({
  ...{ recipe: true, dataset: true, set: true, until: true, priority: true, noReuse: true, labels: true, group: true, gate: true },
});

const timing = {
  /** Minute, hour, day of the month, month, day of the week. */
  cron: writtenText(100, { least: 1 }).nullable().default(null),
  /** The time zone of `cron`, such as `Europe/Zurich`. */
  zone: writtenText(64, { least: 1 }).default('UTC'),
  /** The name of a dataset: each new version starts a run with it. */
  onDataset: safeName.nullable().default(null),
  overlap: overlapPolicy.default('queue'),
};

/** POST /v1/schedules. */
export const scheduleRequest = z
  .strictObject({ name: safeName, ...timing, run: scheduledRun })
  .refine(({ cron, onDataset }) => (cron === null) !== (onDataset === null), 'give either cron or onDataset');
export type ScheduleRequest = z.infer<typeof scheduleRequest>;
export type ScheduleRequestInput = z.input<typeof scheduleRequest>;

/** What became of a run that was due. */
export const scheduleOutcome = z.object({
  at: timestamp,
  outcome: z.enum(['started', 'skipped', 'refused']),
  /** The time for which it was due, or the dataset `name@version`. */
  due: z.string(),
  /** The run that was started, or because of which it was skipped. */
  runId: idOf('run').nullable(),
  /** The code of the refusal. */
  code: z.string().nullable(),
  /** In a sentence. */
  message: z.string(),
});
export type ScheduleOutcome = z.infer<typeof scheduleOutcome>;

export const scheduleView = z.object({
  id: idOf('schedule'),
  name: z.string(),
  /** In whose name its runs are submitted. */
  owner: z.string(),
  cron: z.string().nullable(),
  zone: z.string(),
  onDataset: z.string().nullable(),
  overlap: overlapPolicy,
  run: scheduledRun,
  createdAt: timestamp,
  pausedAt: timestamp.nullable(),
  /** The next five times; none while it is paused, and for a schedule that waits for datasets. */
  next: z.array(timestamp),
  last: scheduleOutcome.nullable(),
});
export type ScheduleView = z.infer<typeof scheduleView>;
export const schedulePage = page(scheduleView);

/** When a schedule starts a run, for people: `0 3 * * 1 (UTC)`. */
export const scheduleText = ({ cron, zone, onDataset }: Pick<ScheduleView, 'cron' | 'zone' | 'onDataset'>): string =>
  cron === null ? `new versions of the dataset ${onDataset}` : `${cron} (${zone})`;
