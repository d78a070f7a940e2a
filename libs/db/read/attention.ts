import { type AttentionItem, type AttentionKind, type AttentionView, attentionKind, budgetSentence, runSource } from '@cairn/contract';
import { z } from 'zod';
import { liveAttempts, type Transaction } from '../client.ts';
import { failureColumn, findingColumn, isoTime, readRows } from './columns.ts';
import { readBudgets } from './ledger.ts';
import type { AdmissionSource } from './step-views.ts';
import { loadAdmission } from './waiting.ts';

/** Failed runs of this many days, and nodes on which attempts failed within this many hours. */
const failedDays = 7;
const sickHours = 24;
/** A step that has waited this long needs a look. */
const longWaitMs = 15 * 60_000;
/** Most items of a kind. */
const most = 50;

type Found = { items: AttentionItem[]; total: number };
type Context = { db: Transaction; projectId: string; now: Date; admission: AdmissionSource };

/** For each kind: how it is found. */
const finders = {
  'no-leader': noLeader,
  'held-run': heldRuns,
  'held-delivery': heldDeliveries,
  budget: budgets,
  'failed-run': failedRuns,
  'waiting-step': waitingSteps,
  'sick-attempt': sickAttempts,
  'sick-node': sickNodes,
} as const satisfies Record<AttentionKind, (context: Context) => Promise<Found>>;

/** What needs a person, in a fixed number of statements. */
export async function readAttention(
  db: Transaction,
  { projectId, admission = () => loadAdmission(db) }: { projectId: string; admission?: AdmissionSource | undefined },
  now = new Date(),
): Promise<AttentionView> {
  const context = { db, projectId, now, admission };
  const found: Found[] = [];
  for (const kind of attentionKind.options) found.push(await finders[kind](context));
  return { items: found.flatMap(({ items }) => items), total: found.reduce((sum, { total }) => sum + total, 0) };
}

async function noLeader({ admission }: Context): Promise<Found> {
  const { leader } = await admission();
  if (leader.isAlive) return { items: [], total: 0 };
  const last = leader.holder === '' ? 'none has reported yet' : `the last one was ${leader.holder}`;
  const sentence = `No controller is running, so nothing is started; ${last}. Start one, or check the controller's log.`;
  return one({
    kind: 'no-leader',
    id: leader.holder || 'none',
    sentence,
    since: isoTime(leader.expiresAt),
    run: null,
    step: null,
    attemptId: null,
  });
}

const one = (item: AttentionItem): Found => ({ items: [item], total: 1 });

const failedRow = z.object({
  id: z.string(),
  name: z.string(),
  cause: z.string().nullable(),
  at: z.date(),
  step: z.string().nullable(),
  failure: failureColumn.nullable(),
  total: z.number().int(),
});

async function failedRuns({ db, projectId, now }: Context): Promise<Found> {
  const since = new Date(now.getTime() - failedDays * 86_400_000);
  const rows = await db.$queryRaw`
    select r.id, r.name, r.cause, coalesce(r.finished_at, r.updated_at) as at, s.name as step, s.failure, count(*) over ()::int as total
      from run r
      left join lateral (select name, failure from step where run_id = r.id and state = 'failed' order by position limit 1) s on true
     where r.project_id = ${projectId} and r.state = 'failed' and r.updated_at > ${since}
     order by r.updated_at desc limit ${most}`;
  return listed(readRows(failedRow, rows), ({ id, name, cause, at, step, failure }) => {
    const why = failure?.message.split('\n')[0] ?? cause ?? 'no cause is recorded';
    const sentence = step === null ? `${name} failed: ${why}` : `${name} failed at ${step}: ${why}`;
    return { kind: 'failed-run', id, sentence, since: isoTime(at), run: { id, name }, step, attemptId: null };
  });
}

const listed = <Row extends { total: number }>(rows: readonly Row[], item: (row: Row) => AttentionItem): Found => ({
  items: rows.map(item),
  total: rows[0]?.total ?? 0,
});

async function heldRuns({ db, projectId }: Context): Promise<Found> {
  // One that waits for its group starts by itself.
  const where = { projectId, state: 'held', OR: [{ hold: null }, { hold: { not: 'group' } }] };
  const rows = await db.run.findMany({
    where,
    orderBy: { updatedAt: 'desc' },
    take: most,
    select: { id: true, name: true, cause: true, updatedAt: true },
  });
  const items = rows.map(
    ({ id, name, cause, updatedAt }): AttentionItem => ({
      ...{ kind: 'held-run', id, since: isoTime(updatedAt), run: { id, name }, step: null, attemptId: null },
      sentence: `${name} is held${cause === null ? '' : `: ${cause}`}. An admin can release it.`,
    }),
  );
  return { items, total: rows.length < most ? rows.length : await db.run.count({ where }) };
}

const heldRow = z.object({
  id: z.string(),
  trigger: z.string(),
  subject: z.string(),
  reason: z.string(),
  source: z.object(runSource.shape).nullable(),
  at: z.date(),
  total: z.number().int(),
});

async function heldDeliveries({ db, projectId }: Context): Promise<Found> {
  const rows = await db.$queryRaw`
    select d.id, t.name as trigger, d.subject, d.reason, d.source, d.received_at as at, count(*) over ()::int as total
      from hook_delivery d join trigger t on t.id = d.trigger_id
     where d.outcome = 'held' and t.project_id = ${projectId}
     order by d.id desc limit ${most}`;
  return listed(readRows(heldRow, rows), ({ id, trigger, subject, reason, source, at }) => ({
    ...{ kind: 'held-delivery', id, since: isoTime(at), run: null, step: null, attemptId: null },
    sentence: `The trigger ${trigger} holds a delivery: ${reason}.`,
    delivery: { trigger, subject, reason, source },
  }));
}

/** The budgets that are spent or nearly so, the spent ones first. */
async function budgets({ db, projectId, now }: Context): Promise<Found> {
  const reached = (await readBudgets(db, projectId, null, now)).filter(({ state }) => state !== 'open');
  const items = reached
    .toSorted((a, b) => Number(b.state === 'spent') - Number(a.state === 'spent'))
    .map((budget): AttentionItem => {
      const what = budget.state === 'spent' ? 'New runs are held.' : `At 100 % new runs are held.`;
      const sentence = budgetSentence(budget);
      return {
        ...{ kind: 'budget', id: budget.scope, since: budget.since ?? budget.updatedAt, run: null, step: null, attemptId: null },
        sentence: `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}. ${what}`,
      };
    });
  return { items: items.slice(0, most), total: items.length };
}

/** Steps that admission holds back: of the caller's project, those that have waited longest first. */
async function waitingSteps({ db, projectId, now, admission }: Context): Promise<Found> {
  const { waiting, reasons } = await admission();
  const long = waiting.waiting
    .filter((step) => step.live === 0 && reasons.has(step.stepId) && now.getTime() - step.readyAt > longWaitMs)
    .sort((a, b) => a.readyAt - b.readyAt);
  const runIds = [...new Set(long.map((step) => step.runId))];
  const own = new Set(
    runIds.length === 0
      ? []
      : (await db.run.findMany({ where: { id: { in: runIds }, projectId }, select: { id: true } })).map(({ id }) => id),
  );
  const items = long
    .filter((step) => own.has(step.runId))
    .map(
      (step): AttentionItem => ({
        ...{ kind: 'waiting-step', id: step.stepId, since: new Date(step.readyAt).toISOString() },
        sentence: `${step.name} of ${step.runName} waits: ${reasons.get(step.stepId)?.sentence ?? ''}`,
        ...{ run: { id: step.runId, name: step.runName }, step: step.name, attemptId: null },
      }),
    );
  return { items: items.slice(0, most), total: items.length };
}

const sickRow = z.object({
  id: z.string(),
  step: z.string(),
  runId: z.string(),
  runName: z.string(),
  ordinal: z.number().int(),
  place: z.string().nullable(),
  finding: findingColumn.nullable(),
  at: z.date(),
  total: z.number().int(),
});

/** Live attempts with a finding that has lasted, or that are silent. */
async function sickAttempts({ db, projectId, now }: Context): Promise<Found> {
  const since = new Date(now.getTime() - longWaitMs);
  const rows = await db.$queryRaw`
    select a.id, s.name as step, r.id as "runId", r.name as "runName", a.ordinal, a.place, a.finding,
           coalesce(a.last_contact_at, a.created_at) as at, count(*) over ()::int as total
      from attempt a join step s on s.id = a.step_id join run r on r.id = a.run_id
     where a.state in ${liveAttempts} and r.project_id = ${projectId}
       and (a.contact = 'silent' or (a.finding is not null and (a.started_at is not null or a.created_at < ${since})))
     order by at desc limit ${most}`;
  return listed(readRows(sickRow, rows), ({ id, step, runId, runName, ordinal, place, finding, at }) => {
    const what = finding?.message ?? 'it does not report; it continues, or is replaced once it is known to be gone';
    const where = place === null ? '' : ` on ${place}`;
    return {
      ...{ kind: 'sick-attempt', id, since: finding?.since ?? isoTime(at) },
      sentence: `Attempt ${ordinal} of ${step} of ${runName}${where}: ${what}`,
      ...{ run: { id: runId, name: runName }, step, attemptId: id },
    };
  });
}

const nodeRow = z.object({
  node: z.string(),
  failures: z.number().int(),
  at: z.date(),
  failure: failureColumn.nullable(),
  total: z.number().int(),
});

async function sickNodes({ db, projectId, now }: Context): Promise<Found> {
  const since = new Date(now.getTime() - sickHours * 3_600_000);
  const rows = await db.$queryRaw`
    select a.avoid_node as node, count(*)::int as failures, max(a.ended_at) as at,
           (array_agg(a.failure order by a.ended_at desc))[1] as failure, count(*) over ()::int as total
      from attempt a join run r on r.id = a.run_id
     where a.avoid_node is not null and a.ended_at > ${since} and r.project_id = ${projectId}
     group by a.avoid_node order by at desc limit ${most}`;
  return listed(readRows(nodeRow, rows), ({ node, failures, at, failure }) => ({
    ...{ kind: 'sick-node', id: node, since: isoTime(at), run: null, step: null, attemptId: null },
    sentence:
      `${failures === 1 ? 'An attempt' : `${failures} attempts`} failed on the node ${node} in the last ${sickHours} hours` +
      `${failure === null ? '' : `, the last one because ${failure.message.split('\n')[0]}`}. Check the node; later attempts of these steps avoid it.`,
  }));
}
