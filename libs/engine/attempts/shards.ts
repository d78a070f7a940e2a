import { CairnError, type ClaimRequest, type Hint, type ShardClaim, type ShardCommit, stepKind } from '@cairn/contract';
import { hintChannel, inTransaction, type Transaction } from '@cairn/db';
import { stepKinds } from '@cairn/domain';
import { toJson } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { settleRun } from '../with-run.ts';
import { liveAttempt } from './live-attempt.ts';
import { refuseForeignFiles, stagingPrefix } from './spec.ts';

/** A worker that got no shard asks again after this long. */
const retryAfterSeconds = 1;

/** A lease has taken long that takes this many times as long as the median of the step's shards, and at least this long. */
const slowFactor = 2;
const leastSlowSeconds = 60;

type ClaimedRow = { index: number; from_row: number; count: number; tries: number; before: string | null };

/**
 * Leases the next shard to a worker that holds those in `holding`: first one that is already leased to its attempt, which does not count as
 * a new try (an answer was lost, or the worker restarted), then the first free one, then the slowest of another attempt. Every report renews
 * the leases; an expired lease goes to another attempt only when its holder has been silent while the api was up, so an outage of the api
 * takes no work away.
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
    const lease = { stepId, attemptId, holding, leaseSeconds: ctx.limits.leaseSeconds };
    const row = (await claimOpen(tx, lease)) ?? (await claimSlow(tx, lease));
    if (row === null) {
      const open = await tx.shard.count({ where: { stepId, state: { in: ['pending', 'leased'] } } });
      return { shard: null, done: open === 0, retryAfterSeconds };
    }
    await shardHint(tx, runId, stepId);
    const { index, from_row: from, count, tries, before } = row;
    return { shard: { index, from, count, tries, resumeFrom: before && stagingPrefix(before) }, done: false, retryAfterSeconds };
  });
}

type Lease = { stepId: string; attemptId: string; holding: number[]; leaseSeconds: number };

async function claimOpen(tx: Transaction, { stepId, attemptId, holding, leaseSeconds }: Lease): Promise<ClaimedRow | null> {
  const rows = await tx.$queryRaw<ClaimedRow[]>`
    with next as (
      select s.step_id, s."index", s.last_attempt_id as before from shard s left join attempt a on a.id = s.attempt_id
      where s.step_id = ${stepId} and s."index" <> all(${holding}::int[])
        and (s.state = 'pending' or (s.state = 'leased' and (s.attempt_id = ${attemptId} or (s.lease_until < now() and a.contact = 'silent'))))
      order by (s.attempt_id = ${attemptId}) is true desc, s."index" limit 1 for update of s skip locked)
    update shard set state = 'leased', attempt_id = ${attemptId}, last_attempt_id = ${attemptId},
      backup_attempt_id = nullif(backup_attempt_id, ${attemptId}), tries = tries + (attempt_id is distinct from ${attemptId})::int,
      leased_at = case when attempt_id = ${attemptId} then coalesce(leased_at, now()) else now() end,
      lease_until = now() + make_interval(secs => ${leaseSeconds})
    from next where shard.step_id = next.step_id and shard."index" = next."index"
    returning shard."index", from_row, count, tries, next.before`;
  return rows[0] ?? null;
}

/**
 * Near the end, the slowest shard of another attempt: both compute it, and the first commit counts. Slow is measured by the first shards that
 * were committed, so that idle workers do not read all rows every second.
 */
async function claimSlow(tx: Transaction, { stepId, attemptId, holding }: Lease): Promise<ClaimedRow | null> {
  const rows = await tx.$queryRaw<ClaimedRow[]>`
    with usual as (
      select percentile_cont(0.5) within group (order by extract(epoch from committed_at - leased_at)) as seconds
        from (select committed_at, leased_at from shard where step_id = ${stepId} and state = 'committed' limit 200) c),
    slow as (
      select s.step_id, s."index" from shard s, usual u
      where s.step_id = ${stepId} and s.state = 'leased' and s."index" <> all(${holding}::int[]) and s.attempt_id <> ${attemptId}
        and (s.backup_attempt_id = ${attemptId} or (s.backup_attempt_id is null and u.seconds is not null
          and s.leased_at < now() - make_interval(secs => greatest(${leastSlowSeconds}, ${slowFactor} * u.seconds))))
      order by (s.backup_attempt_id = ${attemptId}) is true desc, s.leased_at limit 1 for update of s skip locked)
    update shard set backup_attempt_id = ${attemptId}, tries = tries + (backup_attempt_id is distinct from ${attemptId})::int
    from slow where shard.step_id = slow.step_id and shard."index" = slow."index"
    returning shard."index", from_row, count, tries, null as before`;
  return rows[0] ?? null;
}

/**
 * Gives up the leases of an attempt, of one shard or of all that it holds: a shard with a second holder goes to that one, others are free.
 */
export async function freeShards(
  tx: Transaction,
  { stepId, attemptId, index, leaseSeconds }: { stepId: string; attemptId: string; index: number | null; leaseSeconds: number },
): Promise<void> {
  await tx.$executeRaw`
    update shard set backup_attempt_id = null
     where step_id = ${stepId} and backup_attempt_id = ${attemptId} and state = 'leased' and (${index}::int is null or "index" = ${index})`;
  await tx.$executeRaw`
    update shard set state = case when backup_attempt_id is null then 'pending' else 'leased' end, attempt_id = backup_attempt_id,
      leased_at = case when backup_attempt_id is null then null else leased_at end, backup_attempt_id = null,
      lease_until = case when backup_attempt_id is null then null else now() + make_interval(secs => ${leaseSeconds}) end
     where step_id = ${stepId} and attempt_id = ${attemptId} and state = 'leased' and (${index}::int is null or "index" = ${index})`;
}

/**
 * Commits a shard: counted on the step by one atomic update, so that a commit of one of 5,000 shards does not lock the run; the last one
 * settles the run, which requests finalizing. Repeating a commit changes nothing.
 *
 * @throws CairnError `lease_lost` when the shard is leased to another attempt, or was committed by one, `invalid_request` when the counts do not add up or the files
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
      where: { stepId, index, state: 'leased', OR: [{ attemptId }, { backupAttemptId: attemptId }] },
      data: {
        state: 'committed',
        attemptId,
        backupAttemptId: null,
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
    await freeShards(tx, { stepId, attemptId, index, leaseSeconds: ctx.limits.leaseSeconds });
    await shardHint(tx, runId, stepId);
  });
}

async function shardHint(tx: Transaction, runId: string, stepId: string): Promise<void> {
  const hint: Hint = { topic: `run:${runId}`, runId, stepId, what: 'shards' };
  await tx.$executeRaw`select pg_notify(${hintChannel}, ${JSON.stringify(hint)})`;
}
