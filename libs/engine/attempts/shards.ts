import { CairnError, type ClaimRequest, type Hint, type ShardClaim, type ShardCommit, stepKind } from '@cairn/contract';
import { hintChannel, inTransaction, type Transaction } from '@cairn/db';
import { stepKinds } from '@cairn/domain';
import { toJson } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { settleRun } from '../with-run.ts';
import { liveAttempt, refuseForeignFiles } from './spec.ts';

/** A worker that got no shard asks again after this long. */
const retryAfterSeconds = 1;

type ClaimedRow = { index: number; from_row: number; count: number; tries: number };

/**
 * Leases the next shard to a worker that holds those in `holding`: first one that is already leased to its attempt, which does not count as
 * a new try (an answer was lost, or the worker restarted), then the first free one. Every report renews the leases; an expired lease goes
 * to another attempt only when its holder has been silent while the api was up, so an outage of the api takes no work away.
 */
export async function claimShard(
  ctx: EngineContext,
  attemptId: string,
  generation: number,
  { holding }: ClaimRequest,
): Promise<ShardClaim> {
  const attempt = await liveAttempt(ctx.prisma, attemptId, generation);
  const { stepId, runId } = attempt;
  if (attempt.state === 'stopping') return { shard: null, done: false, retryAfterSeconds };
  return inTransaction(ctx.prisma, async (tx) => {
    const rows = await tx.$queryRaw<ClaimedRow[]>`
      update shard set state = 'leased', attempt_id = ${attemptId}, tries = tries + (attempt_id is distinct from ${attemptId})::int,
        lease_until = now() + make_interval(secs => ${ctx.limits.leaseSeconds})
      where (step_id, "index") = (
        select s.step_id, s."index" from shard s left join attempt a on a.id = s.attempt_id
        where s.step_id = ${stepId} and s."index" <> all(${holding}::int[])
          and (s.state = 'pending' or (s.state = 'leased' and (s.attempt_id = ${attemptId} or (s.lease_until < now() and a.contact = 'silent'))))
        order by (s.attempt_id = ${attemptId}) is true desc, s."index" limit 1 for update of s skip locked)
      returning "index", from_row, count, tries`;
    const row = rows[0];
    if (row) {
      await shardHint(tx, runId, stepId);
      return { shard: { index: row.index, from: row.from_row, count: row.count, tries: row.tries }, done: false, retryAfterSeconds };
    }
    const open = await tx.shard.count({ where: { stepId, state: { in: ['pending', 'leased'] } } });
    return { shard: null, done: open === 0, retryAfterSeconds };
  });
}

/**
 * Commits a shard: counted on the step by one atomic update, so that a commit of one of 5,000 shards does not lock the run; the last one
 * settles the run, which requests finalizing. Repeating a commit changes nothing.
 *
 * @throws CairnError `lease_lost` when the shard is leased to another attempt, `invalid_request` when the counts do not add up or the files
 *   are not the shard's
 */
export async function commitShard(
  ctx: EngineContext,
  attemptId: string,
  generation: number,
  index: number,
  commit: ShardCommit,
): Promise<void> {
  const { stepId, runId } = await liveAttempt(ctx.prisma, attemptId, generation);
  refuseForeignFiles(attemptId, commit.files);
  const whole = await inTransaction(ctx.prisma, async (tx) => {
    const shard = await tx.shard.findUnique({ where: { stepId_index: { stepId, index } }, include: { step: { select: { kind: true } } } });
    if (!shard) throw new CairnError('not_found', `step ${stepId} has no shard ${index}`);
    if (shard.state === 'committed' && shard.attemptId === attemptId) return false;
    if (commit.rows + commit.rejected !== shard.count) {
      throw new CairnError(
        'invalid_request',
        `shard ${index} has ${shard.count} images, but ${commit.rows} rows and ${commit.rejected} rejected images were committed`,
      );
    }
    if (commit.idsSha256 !== null) refuseOtherFiles(shard.step.kind, index, commit);
    const { count } = await tx.shard.updateMany({
      where: { stepId, index, attemptId, state: 'leased' },
      data: {
        state: 'committed',
        leaseUntil: null,
        rows: commit.rows,
        rejected: commit.rejected,
        files: toJson(commit.files),
        idsSha256: commit.idsSha256,
        seconds: commit.seconds,
        committedAt: new Date(),
      },
    });
    if (count === 0) throw new CairnError('lease_lost', `shard ${index} of step ${stepId} is no longer leased to attempt ${attemptId}`);
    const step = await tx.step.update({
      where: { id: stepId },
      data: { shardsCommitted: { increment: 1 }, rows: { increment: commit.rows }, rejected: { increment: commit.rejected } },
      select: { shardsCommitted: true, shardsTotal: true },
    });
    await tx.attempt.update({ where: { id: attemptId }, data: { keptAt: new Date() }, select: { id: true } });
    await shardHint(tx, runId, stepId);
    return step.shardsCommitted === step.shardsTotal;
  });
  if (whole) await settleRun(ctx, runId);
}

/**
 * A file of another shard would replace it in the artifact. A worker of the previous release also sends a file for zero rejected images.
 */
function refuseOtherFiles(kind: string, index: number, { rejected, files }: ShardCommit): void {
  const wanted = stepKinds[stepKind.parse(kind)].fleet?.files(index, rejected) ?? [];
  const names = files.map(({ name }) => name).sort();
  if (names.join() !== wanted.join())
    throw new CairnError(
      'invalid_request',
      `shard ${index} was committed with ${names.join(', ') || 'no files'}; expected ${wanted.join(', ')}`,
    );
}

/** Releases the lease of an unfinished shard. */
export async function releaseShard(ctx: EngineContext, attemptId: string, generation: number, index: number): Promise<void> {
  const { stepId, runId } = await liveAttempt(ctx.prisma, attemptId, generation);
  await inTransaction(ctx.prisma, async (tx) => {
    await tx.shard.updateMany({
      where: { stepId, index, attemptId, state: 'leased' },
      data: { state: 'pending', attemptId: null, leaseUntil: null },
    });
    await shardHint(tx, runId, stepId);
  });
}

async function shardHint(tx: Transaction, runId: string, stepId: string): Promise<void> {
  const hint: Hint = { topic: `run:${runId}`, runId, stepId, what: 'shards' };
  await tx.$executeRaw`select pg_notify(${hintChannel}, ${JSON.stringify(hint)})`;
}
