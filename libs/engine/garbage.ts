import {
  artifactKind,
  endedStepStates,
  type GcResult,
  type KeepReason,
  keepReason,
  keepWords,
  keptKinds,
  maxCollected,
  type RetentionPolicy,
} from '@cairn/contract';
import { inTransaction, listOfStates, Prisma, type Transaction } from '@cairn/db';
import { z } from 'zod';
import { logsPrefix, stagingPrefix } from './attempts/spec.ts';
import { audit } from './audit.ts';
import type { Actor, EngineContext } from './engine.ts';
import { assertLead, type Leadership } from './leader/leadership.ts';
import { type RetiredRun, readRetention, retirableRuns, retireRuns, whyKept } from './retention.ts';

/** Removes everything below a prefix of the object store, except some keys, and returns the bytes freed. */
export type RemovePrefix = (prefix: string, except?: ReadonlySet<string>) => Promise<number>;

type GcOptions = { dryRun: boolean; olderThanHours: number };

/**
 * Gives up the results of runs that the retention policy does not keep, then removes what nothing refers to: abandoned artifacts and those
 * that no step, model or imported weights refer to, interrupted imports, the staging folders of attempts whose step has ended (but for the
 * checkpoints that the policy keeps), and the curves of attempts for abandoned results. Marks first, then deletes, so that a crash in
 * between leaves a marked row for the next collection.
 */
export async function collectGarbage(
  ctx: EngineContext,
  removePrefix: RemovePrefix,
  { dryRun, olderThanHours }: GcOptions,
  actor: Actor,
): Promise<GcResult> {
  const now = new Date();
  const before = new Date(now.getTime() - olderThanHours * 3_600_000);
  const { projectId } = actor;
  const policy = await readRetention(ctx.prisma, projectId);
  const { artifacts, runs } = dryRun
    ? await foreseen(ctx, { projectId, policy, now, before })
    : await marked(ctx, { projectId, policy, now, before, olderThanHours }, actor);
  const attempts = await endedAttempts(
    ctx,
    { projectId, before },
    artifacts.map(({ id }) => id),
  );
  const keys = await keptCheckpoints(ctx, projectId, policy, dryRun ? runs.map(({ id }) => id) : []);
  const logPrefixes = attempts.filter(({ isAbandoned }) => isAbandoned).map((attempt) => logsPrefix(attempt.id));
  let bytes = artifacts.reduce((sum, artifact) => sum + Number(artifact.bytes), 0);
  if (!dryRun) {
    bytes = 0;
    for (const artifact of artifacts) {
      bytes += await removePrefix(artifact.prefix);
      // The partial files of an interrupted import.
      if (artifact.runId === null) bytes += await removePrefix(stagingPrefix(artifact.id));
      await ctx.prisma.artifact.deleteMany({ where: { id: artifact.id, state: 'deleting' } });
    }
    for (const attempt of attempts) {
      const kept = new Set(keys.get(attempt.id));
      const removedAt = new Date();
      await ctx.prisma.checkpoint.updateMany({
        where: { attemptId: attempt.id, removedAt: null, key: { notIn: [...kept] } },
        data: { removedAt },
      });
      bytes += await removePrefix(stagingPrefix(attempt.id), kept);
    }
    for (const prefix of logPrefixes) bytes += await removePrefix(prefix);
  }
  const kept = dryRun
    ? await whatStays(
        ctx,
        { projectId, policy, now, before },
        artifacts.map(({ id }) => id),
      )
    : { items: [], totals: [] };
  return {
    dryRun,
    artifacts: artifacts
      .toSorted((a, b) => Number(b.bytes - a.bytes))
      .slice(0, maxCollected)
      .map(({ id, kind, bytes: size, why }) => ({ id, kind: artifactKind.parse(kind), bytes: Number(size), why })),
    stagingPrefixes: attempts.slice(0, maxCollected).map((attempt) => stagingPrefix(attempt.id)),
    logPrefixes: logPrefixes.slice(0, maxCollected),
    bytes,
    runs: runs.map(({ id, name, finishedAt }) => ({ id, name, endedAt: finishedAt.toISOString() })),
    kept: kept.items,
    totals: {
      ...{ artifacts: artifacts.length, bytes, runs: runs.length, stagingPrefixes: attempts.length, logPrefixes: logPrefixes.length },
      kept: kept.totals,
    },
  };
}

type Scope = { projectId: string; policy: RetentionPolicy; now: Date; before: Date };
type Found = { id: string; kind: string; bytes: bigint; prefix: string; runId: string | null; why: string };

/** What a collection would remove. */
async function foreseen(
  { prisma }: EngineContext,
  { projectId, policy, now, before }: Scope,
): Promise<{ artifacts: Found[]; runs: RetiredRun[] }> {
  const runs = await retirableRuns(prisma, projectId, policy, now);
  const ids = runs.map(({ id }) => id);
  const artifacts = await readFound(
    prisma,
    projectId,
    before,
    Prisma.sql`(a.state = 'deleting' or a.id in (${unreferred(projectId, before, ids)}))`,
    ids,
  );
  return { artifacts, runs };
}

/** Marks what a collection removes. An artifact that a run takes up in this moment is not marked: either waits for the other. */
async function marked(
  { prisma }: EngineContext,
  { projectId, policy, now, before, olderThanHours }: Scope & { olderThanHours: number },
  actor: Actor,
) {
  return inTransaction(prisma, async (tx) => {
    const runs = await retireRuns(tx, projectId, policy, now);
    const ids = runs.map(({ id }) => id);
    const garbage = unreferred(projectId, before, []);
    // A run that takes an artifact up holds a lock on it until its reference is committed: only then it is looked for.
    const locked = await tx.$queryRaw<{ id: string }[]>`select a.id from artifact a where a.id in (${garbage}) order by a.id for update`;
    const candidates = locked.map(({ id }) => id);
    await tx.$executeRaw`
      update artifact a set state = 'deleting', memo_key = null where a.id = any(${candidates}) and a.id in (${garbage})`;
    const artifacts = await readFound(tx, projectId, before, Prisma.sql`a.state = 'deleting'`, ids);
    const gone = {
      artifacts: artifacts.length,
      bytes: artifacts.reduce((sum, artifact) => sum + Number(artifact.bytes), 0),
      runs: runs.length,
    };
    const details = { olderThanHours, ...(ids.length > 0 && { runs: ids.slice(0, 100) }) };
    await audit(tx, actor, { action: 'garbage.collect', target: 'storage', before: gone, after: null, details });
    return { artifacts, runs };
  });
}

/** Artifacts with why they go: one of the runs that are given up had it, or nothing has. */
function readFound(tx: Transaction, projectId: string, before: Date, which: Prisma.Sql, retiring: readonly string[]): Promise<Found[]> {
  return tx.$queryRaw`
    select a.id, a.kind, a.bytes, a.prefix, a.run_id as "runId",
           coalesce('of the run ' || r.name || ', whose results are given up', case when a.run_id is null then 'no import or weights have it' else 'no run has it' end) as why
      from artifact a left join run r on r.id = a.run_id and (r.id = any(${[...retiring]}) or r.retired_at is not null)
     where a.project_id = ${projectId} and a.created_at < ${before} and ${which}`;
}

/**
 * Attempts whose step has ended; `isAbandoned` when no result is left that they may have worked for, apart from the artifacts to be removed.
 */
function endedAttempts(
  { prisma }: EngineContext,
  { projectId, before }: { projectId: string; before: Date },
  toGo: readonly string[],
): Promise<{ id: string; isAbandoned: boolean }[]> {
  return prisma.$queryRaw`
    select t.id,
      not exists (select 1 from artifact a where a.run_id = s.run_id and a.step_name = s.name and a.created_at <= t.created_at
        and a.state <> 'deleting' and a.id <> all(${[...toGo]})) as "isAbandoned"
    from attempt t join step s on s.id = t.step_id join run r on r.id = s.run_id
    where r.project_id = ${projectId} and t.ended_at < ${before} and s.finished_at < ${before} and s.state = any(${endedStepStates})`;
}

/** By attempt, the keys of the newest checkpoints of stages that ended without a result: a retry continues from them. */
async function keptCheckpoints(
  { prisma }: EngineContext,
  projectId: string,
  { checkpoints }: RetentionPolicy,
  retiring: readonly string[],
): Promise<Map<string, string[]>> {
  if (checkpoints === 0) return new Map();
  const rows = await prisma.$queryRaw<{ attemptId: string; keys: string[] }[]>`
    select attempt_id as "attemptId", array_agg(key) as keys
      from (select c.attempt_id, c.key, row_number() over (partition by c.step_id order by c.step desc, c.created_at desc) as place
              from checkpoint c join step s on s.id = c.step_id join run r on r.id = s.run_id
             where r.project_id = ${projectId} and r.retired_at is null and r.id <> all(${[...retiring]}) and c.removed_at is null
               and s.state in ('failed', 'cancelled')) newest
     where place <= ${checkpoints} group by attempt_id`;
  return new Map(rows.map(({ attemptId, keys }) => [attemptId, keys]));
}

/**
 * The ids of ready artifacts that nothing refers to, and of imports (which belong to no run) that did not complete within a day. Runs that
 * are `retiring` count as if their results were given up already.
 */
function unreferred(projectId: string, before: Date, retiring: readonly string[]): Prisma.Sql {
  const ids = [...retiring];
  return Prisma.sql`
    select a.id from artifact a
     where a.project_id = ${projectId} and a.created_at < ${before}
       and (a.state = 'ready' or (a.state = 'building' and a.run_id is null and a.created_at < now() - interval '1 day'))
       and not exists (select 1 from step s where s.artifact_id = a.id and (s.run_id <> all(${ids}) or a.kind in ${listOfStates(keptKinds)}))
       and not exists (select 1 from step s join run r on r.id = s.run_id and r.retired_at is null and r.id <> all(${ids})
                        where s.given @> jsonb_build_array(jsonb_build_object('artifactId', a.id)))
       and not exists (select 1 from step s join run r on r.id = s.run_id and r.retired_at is null and r.id <> all(${ids})
                        where s.earlier->>'artifactId' = a.id and s.state in ('blocked', 'ready', 'active'))
       and not exists (select 1 from weights w where w.artifact_id = a.id)
       and not exists (select 1 from model m where m.removed_at is null and m.run_id <> all(${ids}) and text_values(m.artifacts) @> array[a.id])`;
}

const keptRow = z.object({ id: z.string(), kind: artifactKind, bytes: z.bigint().transform(Number), reason: keepReason });
const totalRow = z.object({ reason: keepReason, artifacts: z.number().int(), bytes: z.bigint().transform(Number) });

/** Why runs keep results, the strongest reason first. */
const runReasons = ['live', 'pinned', 'labelled', 'aliased', 'young', 'no-policy'] as const satisfies readonly KeepReason[];

/** What stays, the largest first, with the strongest reason; and the sums by reason. */
async function whatStays({ prisma }: EngineContext, { projectId, policy, now, before }: Scope, toGo: readonly string[]) {
  const stays = Prisma.sql`
    select a.id, a.kind, a.bytes,
           coalesce(owner.reason, case when a.created_at >= ${before} then 'new'
             when a.kind in ${listOfStates(keptKinds)} then 'measured' when a.state = 'building' then 'building'
             when exists (select 1 from weights w where w.artifact_id = a.id) then 'weights' else 'read' end) as reason
      from artifact a
      left join lateral (
        select why.reason
          from (select s.run_id from step s where s.artifact_id = a.id union
                select m.run_id from model m where m.removed_at is null and text_values(m.artifacts) @> array[a.id]) of
          join run r on r.id = of.run_id and r.retired_at is null
         cross join lateral (select ${whyKept(policy, now)} as reason) why
         where why.reason is not null
         order by array_position(${[...runReasons]}::text[], why.reason) limit 1) owner on true
     where a.project_id = ${projectId} and a.state <> 'deleting' and a.id <> all(${[...toGo]})`;
  const items = z.array(keptRow).parse(await prisma.$queryRaw`${stays} order by a.bytes desc, a.id limit ${maxCollected}`);
  const totals = z.array(totalRow).parse(
    await prisma.$queryRaw`
      select reason, count(*)::int as artifacts, sum(bytes)::bigint as bytes from (${stays}) s group by reason order by bytes desc, reason`,
  );
  return {
    items: items.map(({ reason, ...artifact }) => ({ ...artifact, why: keepWords[reason] })),
    totals: totals.map((total) => ({ ...total, why: keepWords[total.reason] })),
  };
}

/** A collection of a project whose policy is due; the leader alone begins one. A failed one is tried again at the next round. */
export async function collectWhenDue(ctx: EngineContext, removePrefix: RemovePrefix, lead: Leadership): Promise<GcResult[]> {
  const due = await ctx.prisma.$queryRaw<{ projectId: string; collectedAt: Date | null }[]>`
    select project_id as "projectId", collected_at as "collectedAt" from retention
     where (policy->>'everyHours') is not null
       and coalesce(collected_at, '-infinity') <= now() - make_interval(hours => (policy->>'everyHours')::int)`;
  const results: GcResult[] = [];
  const failures: unknown[] = [];
  for (const { projectId, collectedAt } of due) {
    const isOurs = await inTransaction(ctx.prisma, async (tx) => {
      await assertLead(tx, lead);
      const { count } = await tx.retention.updateMany({ where: { projectId, collectedAt }, data: { collectedAt: new Date() } });
      return count > 0;
    });
    if (!isOurs) continue;
    try {
      results.push(await collectGarbage(ctx, removePrefix, { dryRun: false, olderThanHours: scheduledAge }, serviceOf(projectId)));
    } catch (error) {
      await ctx.prisma.retention.updateMany({ where: { projectId }, data: { collectedAt } });
      if (error instanceof Error && error.name === 'AbortError') throw error;
      // The others must not wait for a project whose collection fails.
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'a collection of garbage failed');
  return results;
}

/** A scheduled collection looks at nothing newer than this many hours. */
const scheduledAge = 24;
/** Who collects on schedule. */
const serviceOf = (projectId: string): Actor => ({ name: 'cairn', projectId, tokenId: null, address: 'controller' });
