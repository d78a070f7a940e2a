import { artifactKind, endedStepStates, type GcResult } from '@cairn/contract';
import { inTransaction, Prisma } from '@cairn/db';
import { logsPrefix, stagingPrefix } from './attempts/spec.ts';
import { audit } from './audit.ts';
import type { Actor, EngineContext } from './engine.ts';

/** Removes everything below a prefix of the object store and returns the bytes freed. */
export type RemovePrefix = (prefix: string) => Promise<number>;

/**
 * Removes what nothing refers to: abandoned artifacts and those that no step, model or imported weights refer to, interrupted imports, the
 * staging folders of attempts whose step has ended, and the curves of attempts for abandoned results. Marks first, then deletes, so that a
 * crash in between leaves a marked row for the next collection.
 */
export async function collectGarbage(
  ctx: EngineContext,
  removePrefix: RemovePrefix,
  options: { dryRun: boolean; olderThanHours: number },
  actor: Actor,
): Promise<GcResult> {
  const before = new Date(Date.now() - options.olderThanHours * 3_600_000);
  const { projectId } = actor;
  const garbage = unreferred(projectId, before);
  const artifacts = await inTransaction(ctx.prisma, async (tx) => {
    if (!options.dryRun) await tx.$executeRaw`update artifact a set state = 'deleting', memo_key = null where a.id in (${garbage})`;
    const toGo = options.dryRun ? (await tx.$queryRaw<{ id: string }[]>`${garbage}`).map(({ id }) => id) : [];
    const found = await tx.artifact.findMany({
      where: { projectId, createdAt: { lt: before }, OR: [{ state: 'deleting' }, { id: { in: toGo } }] },
      select: { id: true, kind: true, bytes: true, prefix: true, runId: true },
    });
    if (!options.dryRun) {
      const gone = { artifacts: found.length, bytes: found.reduce((sum, artifact) => sum + Number(artifact.bytes), 0) };
      const { olderThanHours } = options;
      await audit(tx, actor, { action: 'garbage.collect', target: 'storage', before: gone, after: null, details: { olderThanHours } });
    }
    return found;
  });
  const attempts = await endedAttempts(
    ctx,
    { projectId, before },
    artifacts.map(({ id }) => id),
  );
  const stagingPrefixes = attempts.map((attempt) => stagingPrefix(attempt.id));
  const logPrefixes = attempts.filter(({ isAbandoned }) => isAbandoned).map((attempt) => logsPrefix(attempt.id));
  let bytes = artifacts.reduce((sum, artifact) => sum + Number(artifact.bytes), 0);
  if (!options.dryRun) {
    bytes = 0;
    for (const artifact of artifacts) {
      bytes += await removePrefix(artifact.prefix);
      // The partial files of an interrupted import.
      if (artifact.runId === null) bytes += await removePrefix(stagingPrefix(artifact.id));
      await ctx.prisma.artifact.deleteMany({ where: { id: artifact.id, state: 'deleting' } });
    }
    for (const attempt of attempts) {
      await ctx.prisma.checkpoint.updateMany({ where: { attemptId: attempt.id, removedAt: null }, data: { removedAt: new Date() } });
      bytes += await removePrefix(stagingPrefix(attempt.id));
    }
    for (const prefix of logPrefixes) bytes += await removePrefix(prefix);
  }
  return {
    dryRun: options.dryRun,
    artifacts: artifacts.map((artifact) => ({ id: artifact.id, kind: artifactKind.parse(artifact.kind), bytes: Number(artifact.bytes) })),
    stagingPrefixes,
    logPrefixes,
    bytes,
  };
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

/** The ids of ready artifacts that nothing refers to, and of imports (which belong to no run) that did not complete within a day. */
function unreferred(projectId: string, before: Date): Prisma.Sql {
  return Prisma.sql`
    select a.id from artifact a
     where a.project_id = ${projectId} and a.created_at < ${before}
       and (a.state = 'ready' or (a.state = 'building' and a.run_id is null and a.created_at < now() - interval '1 day'))
       and not exists (select 1 from step s where s.artifact_id = a.id)
       and not exists (select 1 from step s where s.given @> jsonb_build_array(jsonb_build_object('artifactId', a.id)))
       and not exists (select 1 from weights w where w.artifact_id = a.id)
       and not exists (select 1 from model m where m.artifacts::text like '%' || a.id || '%')`;
}
