import { CairnError, type ClaimRequest, type Hint, type ShardClaim, type ShardCommit, type StepKind, stepKind } from '@cairn/contract';
import { hintChannel, inTransaction, liveAttempts, Prisma, retriedAfterDeadlock, type Transaction } from '@cairn/db';
import { stepKinds } from '@cairn/domain';
import { z } from 'zod';
import { states } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { settleRun } from '../with-run.ts';
import { liveAttempt, noAttempt, refuseForeignFiles, requireLive, stagingPrefix } from './spec.ts';

// Thousands of workers claim and commit: each is one statement, which is a transaction of its own.

/** A worker that got no shard asks again after this long. */
const retryAfterSeconds = 1;

/** A lease has taken long that takes this many times as long as the median of the step's shards, and at least this long. */
const slowFactor = 2;
const leastSlowSeconds = 60;

/** The attempt that asked, with which every statement here begins. */
const asker = { id: z.string(), generation: z.number().int(), state: states.attempt };

const claimedShard = { index: z.number().int(), from: z.number().int(), count: z.number().int(), tries: z.number().int() };
/** A claimed shard, with the attempt that had it before. */
const claimedRow = z.object({ ...claimedShard, before: z.string().nullable() });
const openRow = z.object({ ...asker, shard: claimedRow.nullable(), isOpen: z.boolean() });

/**
 * Leases the next shard to a worker that holds those in `holding`: first one that is already leased to its attempt, which does not count as
 * a new try (an answer was lost, or the worker restarted), then the first free one, then the slowest of another attempt. Every report renews
 * the leases; an expired lease goes to another attempt only when its holder has ended, or has been silent while the api was up, so an outage
 * of the api takes no work away.
 */
export async function claimShard(
  ctx: EngineContext,
  attemptId: string,
  generation: number,
  { holding }: ClaimRequest,
): Promise<ShardClaim> {
  const rows = await retriedAfterDeadlock(
    () => ctx.prisma.$queryRaw`
      with live as (select id, run_id, step_id, generation, state from attempt where id = ${attemptId}),
        taker as (select * from live where generation = ${generation} and state in ${liveAttempts} and state <> 'stopping'),
        own as (
          select step_id, "index", last_attempt_id as before from shard
           where attempt_id = (select id from taker) and state = 'leased' and step_id = (select step_id from taker)
             and "index" <> all(${holding}::int[])
           order by "index" limit 1 for update skip locked),
        free as (
          select step_id, "index", last_attempt_id as before from shard s
           where step_id = (select step_id from taker) and not exists (select from own) and "index" <> all(${holding}::int[])
             and (state = 'pending' or (state = 'leased' and lease_until < now() and attempt_id <> (select id from taker)
               and (select contact = 'silent' or a.state not in ${liveAttempts} from attempt a where a.id = s.attempt_id)))
           order by "index" limit 1 for update of s skip locked),
        leased as (
          update shard s set state = 'leased', attempt_id = ${attemptId}, last_attempt_id = ${attemptId},
            backup_attempt_id = nullif(s.backup_attempt_id, ${attemptId}), tries = tries + (s.attempt_id is distinct from ${attemptId})::int,
            leased_at = case when s.attempt_id = ${attemptId} then coalesce(s.leased_at, now()) else now() end,
            lease_until = now() + make_interval(secs => ${ctx.limits.leaseSeconds})
          from (select * from own union all select * from free) next
          where s.step_id = next.step_id and s."index" = next."index"
          returning s."index", s.from_row as "from", s.count, s.tries, next.before),
        told as (select pg_notify(${hintChannel}, ${hintOf}) from leased, live)
      select live.id, live.generation, live.state, (select to_json(leased) from leased) as shard,
        exists (select from shard where step_id = live.step_id and state in ('pending', 'leased')) as "isOpen", (select count(*)::int from told) as told
        from live`,
  );
  const [row] = z.array(openRow).parse(rows);
  if (row === undefined) throw noAttempt(attemptId);
  requireLive(row, generation);
  const mayWork = row.state !== 'stopping';
  const claimed = row.shard ?? (row.isOpen && mayWork ? await claimSlow(ctx, { attemptId, generation, holding }) : null);
  if (claimed === null) return { shard: null, done: !row.isOpen && mayWork, retryAfterSeconds };
  const { before, ...shard } = claimed;
  return { shard: { ...shard, resumeFrom: before && stagingPrefix(before) }, done: false, retryAfterSeconds };
}

/**
 * Near the end, the slowest shard of another attempt: both compute it, and the first commit counts. Slow is measured by the first shards that
 * were committed, so that idle workers do not read all rows every second.
 */
async function claimSlow(
  { prisma }: EngineContext,
  { attemptId, generation, holding }: { attemptId: string; generation: number; holding: readonly number[] },
): Promise<z.infer<typeof claimedRow> | null> {
  const rows = await retriedAfterDeadlock(
    () => prisma.$queryRaw`
      with live as (
          select id, run_id, step_id from attempt
           where id = ${attemptId} and generation = ${generation} and state in ${liveAttempts} and state <> 'stopping'),
        usual as (
          select percentile_cont(0.5) within group (order by extract(epoch from committed_at - leased_at)) as seconds
            from (select s.committed_at, s.leased_at from shard s join live on s.step_id = live.step_id where s.state = 'committed' limit 200) c),
        slow as (
          select s.step_id, s."index" from shard s join live on s.step_id = live.step_id, usual u
           where s.state = 'leased' and s."index" <> all(${holding}::int[]) and s.attempt_id <> live.id
             and (s.backup_attempt_id = live.id or (u.seconds is not null
               and not exists (select from attempt b where b.id = s.backup_attempt_id and b.state in ${liveAttempts})
               and s.leased_at < now() - make_interval(secs => greatest(${leastSlowSeconds}, ${slowFactor} * u.seconds))))
           order by (s.backup_attempt_id = live.id) is true desc, s.leased_at limit 1 for update of s skip locked),
        shared as (
          update shard s set backup_attempt_id = ${attemptId}, tries = tries + (s.backup_attempt_id is distinct from ${attemptId})::int
            from slow where s.step_id = slow.step_id and s."index" = slow."index"
          returning s."index", s.from_row as "from", s.count, s.tries),
        told as (select pg_notify(${hintChannel}, ${hintOf}) from shared, live)
      select shared.*, null as before, (select count(*)::int from told) as told from shared`,
  );
  return z.array(claimedRow).parse(rows)[0] ?? null;
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

/** {@link Hint} of a change to the shards of `live`, as JSON. */
const hintOf = Prisma.sql`json_build_object('topic', 'run:' || live.run_id, 'runId', live.run_id, 'stepId', live.step_id, 'what', 'shards')::text`;

const committedRow = z.object({
  ...asker,
  runId: z.string(),
  stepId: z.string(),
  /** Of the shard before the commit; null where there is none. */
  shard: z.object({ count: z.number().int(), state: z.string(), attemptId: z.string().nullable(), kind: stepKind }).nullable(),
  /** Whether it was the last; null where nothing was committed. */
  isLast: z.boolean().nullable(),
});

/**
 * Commits a shard: counted on the step by one atomic update, so that a commit of one of 5,000 shards does not lock the run; the last one
 * settles the run, which requests finalizing. Repeating a commit changes nothing.
 *
 * @throws CairnError `lease_lost` when the shard is leased to another attempt, or was committed by one, `invalid_request` when the counts
 *   do not add up or the files are not the shard's
 */
export async function commitShard(
  ctx: EngineContext,
  attemptId: string,
  generation: number,
  index: number,
  commit: ShardCommit,
): Promise<void> {
  refuseForeignFiles(attemptId, commit.files);
  const { rows: features, rejected, files, idsSha256, seconds, work } = commit;
  const kinds = stepKind.options.filter((kind) => idsSha256 === null || hasFilesOf(kind, index, commit));
  const rows = await retriedAfterDeadlock(
    () => ctx.prisma.$queryRaw`
      with live as (select id, run_id, step_id, generation, state from attempt where id = ${attemptId}),
        held as (
          select s.count, s.state, s.attempt_id, s.backup_attempt_id, t.kind from live join shard s on s.step_id = live.step_id and s."index" = ${index}
            join step t on t.id = live.step_id),
        kept as (
          update attempt a set kept_at = now() from live, held
           where a.id = live.id and a.generation = ${generation} and a.state in ${liveAttempts} and held.state = 'leased'
             and live.id in (held.attempt_id, held.backup_attempt_id) and held.count = ${features + rejected}::bigint and held.kind = any(${kinds}::text[])
          returning a.id, live.step_id),
        done as (
          update shard s set state = 'committed', attempt_id = kept.id, backup_attempt_id = null, lease_until = null, rows = ${features}, rejected = ${rejected},
            files = ${JSON.stringify(files)}::jsonb, ids_sha256 = ${idsSha256}, seconds = ${JSON.stringify(seconds)}::jsonb,
            work = ${work === undefined ? null : JSON.stringify(work)}::jsonb, committed_at = now()
          from kept
          where s.step_id = kept.step_id and s."index" = ${index} and kept.id in (s.attempt_id, s.backup_attempt_id) and s.state = 'leased'
          returning s.step_id),
        counted as (
          update step t set shards_committed = t.shards_committed + 1, rows = t.rows + ${features}, rejected = t.rejected + ${rejected}
          from done where t.id = done.step_id
          returning t.shards_committed = t.shards_total as is_last),
        told as (select pg_notify(${hintChannel}, ${hintOf}) from counted, live)
      select live.id, live.generation, live.state, live.run_id as "runId", live.step_id as "stepId", counted.is_last as "isLast",
        (select json_build_object('count', count, 'state', state, 'attemptId', attempt_id, 'kind', kind) from held) as shard,
        (select count(*)::int from told) as told
        from live left join counted on true`,
  );
  const [row] = z.array(committedRow).parse(rows);
  if (row === undefined) throw noAttempt(attemptId);
  requireLive(row, generation);
  if (row.isLast === null) refuseCommit(row, { attemptId, index, commit });
  if (row.isLast === true) await settleRun(ctx, row.runId);
}

/** Why nothing was committed; nothing where the same commit was made before. */
function refuseCommit(
  { stepId, shard }: z.infer<typeof committedRow>,
  { attemptId, index, commit }: { attemptId: string; index: number; commit: ShardCommit },
): void {
  if (shard === null) throw new CairnError('not_found', `step ${stepId} has no shard ${index}`);
  if (shard.state === 'committed' && shard.attemptId === attemptId) return;
  const { rows, rejected, idsSha256 } = commit;
  if (rows + rejected !== shard.count) {
    throw new CairnError(
      'invalid_request',
      `shard ${index} has ${shard.count} images, but ${rows} rows and ${rejected} rejected images were committed`,
    );
  }
  if (idsSha256 !== null) refuseOtherFiles(shard.kind, index, commit);
  throw new CairnError('lease_lost', `shard ${index} of step ${stepId} is no longer leased to attempt ${attemptId}`);
}

const namesOf = ({ files }: ShardCommit): string[] => files.map(({ name }) => name).sort();
const wantedOf = (kind: StepKind, index: number, rejected: number): string[] => stepKinds[kind].fleet?.files(index, rejected) ?? [];

function hasFilesOf(kind: StepKind, index: number, commit: ShardCommit): boolean {
  return namesOf(commit).join() === wantedOf(kind, index, commit.rejected).join();
}

/**
 * A file of another shard would replace it in the artifact. A worker of the previous release also sends a file for zero rejected images.
 */
function refuseOtherFiles(kind: StepKind, index: number, commit: ShardCommit): void {
  if (hasFilesOf(kind, index, commit)) return;
  const wanted = wantedOf(kind, index, commit.rejected);
  throw new CairnError(
    'invalid_request',
    `shard ${index} was committed with ${namesOf(commit).join(', ') || 'no files'}; expected ${wanted.join(', ')}`,
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
