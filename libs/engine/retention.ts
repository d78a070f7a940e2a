import {
  CairnError,
  endedRunStates,
  keptKinds,
  noRetention,
  type RetentionPolicy,
  type RetentionView,
  retentionPolicy,
} from '@cairn/contract';
import { inTransaction, listOfStates, Prisma, type PrismaClient, type Transaction } from '@cairn/db';
import { audit } from './audit.ts';
import { toJson } from './columns.ts';
import type { Actor, EngineContext } from './engine.ts';
import { emit } from './run-work.ts';
import { withRun } from './with-run.ts';

/** Most runs whose results one collection gives up, the oldest first; the next one continues. */
const maxRetired = 500;

export async function readRetention(db: PrismaClient | Transaction, projectId: string): Promise<RetentionView> {
  const row = await db.retention.findUnique({ where: { projectId } });
  if (row === null) return { ...noRetention, setBy: null, updatedAt: null, collectedAt: null };
  return {
    ...retentionPolicy.parse(row.policy),
    setBy: row.setBy,
    updatedAt: row.updatedAt.toISOString(),
    collectedAt: row.collectedAt?.toISOString() ?? null,
  };
}

export async function setRetention({ prisma }: EngineContext, policy: RetentionPolicy, actor: Actor): Promise<void> {
  const { projectId, name: setBy } = actor;
  await inTransaction(prisma, async (tx) => {
    const { setBy: by, updatedAt: _, collectedAt: __, ...before } = await readRetention(tx, projectId);
    const change = { policy: toJson(policy), setBy, updatedAt: new Date() };
    // The first scheduled collection comes after one period: there is time to look at a dry run.
    await tx.retention.upsert({ where: { projectId }, create: { projectId, ...change, collectedAt: new Date() }, update: change });
    await audit(tx, actor, { action: 'retention.set', target: projectId, before: by === null ? null : before, after: policy });
  });
}

/** Keeps the results of a run whatever the policy, or no longer. Repeating it changes nothing. */
export async function pinRun(ctx: EngineContext, runId: string, isPinned: boolean, actor: Actor): Promise<void> {
  await withRun(ctx, runId, async (run) => {
    if (run.projectId !== actor.projectId) throw new CairnError('not_found', `run ${runId} not found`);
    const { pinnedBy, retiredAt } = await run.tx.run.findUniqueOrThrow({
      where: { id: runId },
      select: { pinnedBy: true, retiredAt: true },
    });
    if ((pinnedBy !== null) === isPinned) return;
    if (isPinned && retiredAt !== null)
      throw new CairnError('wrong_state', `the results of ${run.name} were given up at ${retiredAt.toISOString()}`, {
        details: { remedy: `\`cairn retry ${run.name}\` makes them again.` },
      });
    const after = { pinnedBy: isPinned ? actor.name : null };
    await run.tx.run.update({ where: { id: runId }, data: { ...after, pinnedAt: isPinned ? run.now : null }, select: { id: true } });
    await audit(run.tx, actor, { action: isPinned ? 'run.pin' : 'run.unpin', target: runId, before: { pinnedBy }, after });
    emit(run, 'note', isPinned ? `${actor.name} pinned the run: its results are kept` : `${actor.name} unpinned the run`, {});
  });
}

const ended = listOfStates(endedRunStates);

/** An alias names a version of the model that the run `r` registered, or has named it: a rollback may lead there. */
const isAliased = Prisma.sql`exists (
  select 1 from model m join alias_move v on v.project_id = m.project_id and v.model = m.name and v.to_version = m.version where m.run_id = r.id)`;

/** Why the run `r` keeps its results, a `keepReason`; null: the policy gives them up. */
export function whyKept({ runsOlderThanDays, keepLabels }: RetentionPolicy, now: Date): Prisma.Sql {
  const labels = keepLabels.map((text) => JSON.stringify({ [text.slice(0, text.indexOf('='))]: text.slice(text.indexOf('=') + 1) }));
  const cutoff = runsOlderThanDays === null ? null : new Date(now.getTime() - runsOlderThanDays * 86_400_000);
  return Prisma.sql`case when r.state not in ${ended} or r.gate_state = 'judging' then 'live' when r.pinned_at is not null then 'pinned'
    when exists (select 1 from unnest(${labels}::text[]) label where r.labels @> label::jsonb) then 'labelled'
    when ${isAliased} then 'aliased' when ${cutoff}::timestamptz is null then 'no-policy'
    when r.finished_at >= ${cutoff}::timestamptz then 'young' end`;
}

export type RetiredRun = { id: string; name: string; finishedAt: Date };

/** The runs whose results the policy gives up now. With `lock`, none of them changes before the transaction ends. */
export function retirableRuns(
  db: PrismaClient | Transaction,
  projectId: string,
  policy: RetentionPolicy,
  now: Date,
  lock = false,
): Promise<RetiredRun[]> {
  if (policy.runsOlderThanDays === null) return Promise.resolve([]);
  return db.$queryRaw`
    select r.id, r.name, r.finished_at as "finishedAt" from run r
     where r.project_id = ${projectId} and r.retired_at is null and r.finished_at is not null and ${whyKept(policy, now)} is null
     order by r.finished_at, r.id limit ${maxRetired} ${lock ? Prisma.sql`for update of r skip locked` : Prisma.empty}`;
}

/**
 * Gives up the results of old runs: their steps no longer refer to them, so what no other run has becomes garbage. The runs stay, and so
 * does what they measured.
 */
export async function retireRuns(tx: Transaction, projectId: string, policy: RetentionPolicy, now: Date): Promise<RetiredRun[]> {
  const locked = await retirableRuns(tx, projectId, policy, now, true);
  if (locked.length === 0) return [];
  const lockedIds = locked.map(({ id }) => id);
  // An alias may have been set while the models were not locked: looked at again once they are.
  await tx.$executeRaw`select 1 from model where run_id = any(${lockedIds}) order by id for update`;
  const free = await tx.$queryRaw<{ id: string }[]>`select r.id from run r where r.id = any(${lockedIds}) and not ${isAliased}`;
  const ids = free.map(({ id }) => id);
  await tx.$executeRaw`
    update step s set artifact_id = null,
           removed = jsonb_build_object('id', f.id, 'kind', f.kind, 'bytes', f.bytes, 'at', ${now.toISOString()}::text)
      from artifact f where f.id = s.artifact_id and s.run_id = any(${ids}) and f.kind not in ${listOfStates(keptKinds)}`;
  await tx.$executeRaw`update model set removed_at = ${now} where run_id = any(${ids}) and removed_at is null`;
  await tx.$executeRaw`
    with retired as (update run set retired_at = ${now}, seq = seq + 1 where id = any(${ids}) returning id, seq)
    insert into event (run_id, seq, type, message, data)
    select id, seq, 'note', ${`its results were given up, because it ended more than ${policy.runsOlderThanDays} days ago; what it measured is kept`}, '{}'
      from retired`;
  return locked.filter(({ id }) => ids.includes(id));
}
