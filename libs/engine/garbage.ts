import { artifactKind, type GcResult } from '@cairn/contract';
import { endedStepStates } from '@cairn/domain';
import { stagingPrefix } from './attempts/spec.ts';
import type { EngineContext } from './context.ts';
import type { Actor } from './engine.ts';

/** Removes everything below a prefix of the object store and answers the bytes freed. */
export type RemovePrefix = (prefix: string) => Promise<number>;

/**
 * Removes what nothing refers to: artifacts given up or referred to by no step and no model, and the staging folders of
 * attempts whose step is over. Marks first, deletes then, so that a crash in between leaves a marked row for the next time.
 */
export async function collectGarbage(
  ctx: EngineContext,
  removePrefix: RemovePrefix,
  options: { dryRun: boolean; olderThanHours: number },
  actor: Actor,
): Promise<GcResult> {
  const before = new Date(Date.now() - options.olderThanHours * 3_600_000);
  const { projectId } = actor;
  if (!options.dryRun) {
    await ctx.prisma.$executeRaw`
      update artifact a set state = 'deleting', memo_key = null
      where a.project_id = ${projectId} and a.state = 'ready' and a.created_at < ${before}
        and not exists (select 1 from step s where s.artifact_id = a.id)
        and not exists (select 1 from model m where m.artifacts::text like '%' || a.id || '%')`;
  }
  const artifacts = await ctx.prisma.artifact.findMany({
    where: options.dryRun
      ? { projectId, createdAt: { lt: before }, OR: [{ state: 'deleting' }, { state: 'ready', steps: { none: {} } }] }
      : { projectId, state: 'deleting', createdAt: { lt: before } },
    select: { id: true, kind: true, bytes: true, prefix: true },
  });
  const attempts = await ctx.prisma.attempt.findMany({
    where: { endedAt: { lt: before }, step: { state: { in: [...endedStepStates] }, finishedAt: { lt: before }, run: { projectId } } },
    select: { id: true },
  });
  const stagingPrefixes = attempts.map((attempt) => stagingPrefix(attempt.id));
  let bytes = artifacts.reduce((sum, artifact) => sum + Number(artifact.bytes), 0);
  if (!options.dryRun) {
    bytes = 0;
    for (const artifact of artifacts) {
      bytes += await removePrefix(artifact.prefix);
      await ctx.prisma.artifact.deleteMany({ where: { id: artifact.id, state: 'deleting' } });
    }
    for (const attempt of attempts) {
      await ctx.prisma.checkpoint.deleteMany({ where: { attemptId: attempt.id } });
      bytes += await removePrefix(stagingPrefix(attempt.id));
    }
  }
  return {
    dryRun: options.dryRun,
    artifacts: artifacts.map((artifact) => ({ id: artifact.id, kind: artifactKind.parse(artifact.kind), bytes: Number(artifact.bytes) })),
    stagingPrefixes,
    bytes,
  };
}
