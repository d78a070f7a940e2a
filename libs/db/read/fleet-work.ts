import { type FleetWork, maxFleetWork, servedQueue } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { isoTime, isoTimeOrNull, readRows } from './columns.ts';
import type { AdmissionSource } from './step-views.ts';
import { type AdmissionView, loadAdmission } from './waiting.ts';

/** Who holds slots, what waits for them and why, and the queues; over all projects, as admission is. */
export async function loadFleetWork(db: Transaction, admission: AdmissionSource = () => loadAdmission(db)): Promise<FleetWork> {
  const view = await admission();
  const { running } = view.waiting;
  const held = running.toSorted((a, b) => a.startedAt - b.startedAt).slice(0, maxFleetWork);
  const places = await db.attempt.findMany({
    where: { id: { in: held.map(({ attemptId }) => attemptId) } },
    select: { id: true, place: true },
  });
  const placeOf = new Map(places.map(({ id, place }) => [id, place]));
  const waiting = view.waiting.waiting.toSorted((a, b) => b.priority - a.priority || a.readyAt - b.readyAt);
  return {
    holders: held.map(({ runId, runName, stepName, owner, attemptId, pool, slots, stopping, startedAt }) => ({
      ...{ run: { id: runId, name: runName }, step: stepName, owner, attemptId, pool, slots },
      place: placeOf.get(attemptId) ?? null,
      isStopping: stopping,
      since: isoTime(new Date(startedAt)),
    })),
    holdersTotal: running.length,
    waiting: waiting.slice(0, maxFleetWork).map(({ stepId, runId, runName, name, owner, pool, slots, priority, readyAt }) => ({
      ...{ run: { id: runId, name: runName }, step: name, owner, pool, slots, priority },
      sentence: sentenceOf(stepId, view),
      since: isoTime(new Date(readyAt)),
    })),
    waitingTotal: waiting.length,
    queues: await loadQueues(db),
  };
}

/** The same as on the page of the run. */
function sentenceOf(stepId: string, { reasons, leader }: AdmissionView): string {
  if (!leader.isAlive) return 'no controller is running, so nothing is started';
  return reasons.get(stepId)?.sentence ?? 'it fits now; the controller starts it next';
}

const queueRow = z.object({
  name: servedQueue,
  depth: z.number().int(),
  oldestAt: z.date().nullable(),
  undelivered: z.number().int(),
});

/** By the rows, which are the truth: entries of a queue may be lost or delivered twice. */
async function loadQueues(db: Transaction): Promise<FleetWork['queues']> {
  const rows = await db.$queryRaw`
    with work as (
      select case when pool = 'tasks' then 'tasks' else 'launch' end as queue, created_at as at from attempt where state = 'created'
      union all
      select 'finalize', coalesce((select max(ended_at) from attempt where step_id = step.id), ready_at) from step
       where finalizing and state = 'active' and shards_total is null
      union all
      select 'judge', finished_at from run where gate_state = 'judging'
      union all
      select 'deliver', created_at from delivery where state = 'pending' and not_before <= now())
    select name, count(work.at)::int as depth, min(work.at) as "oldestAt",
           (select count(*)::int from outbox where outbox.queue = name) as undelivered
      from unnest(${servedQueue.options}::text[]) with ordinality as queues (name, position)
      left join work on work.queue = name
     group by name, position order by position`;
  return readRows(queueRow, rows).map(({ oldestAt, ...queue }) => ({ ...queue, oldestAt: isoTimeOrNull(oldestAt) }));
}
