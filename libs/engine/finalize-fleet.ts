import { CairnError, type FailureView, maxListedFiles, type StagedFilesPage, sha256Hex, stagedShardsPerPage } from '@cairn/contract';
import { rulesOf } from '@cairn/domain';
import { z } from 'zod';
import { recordFailure } from './attempts/failure.ts';
import { liveAttempt } from './attempts/live-attempt.ts';
import { artifactFilesColumn, filesColumn } from './columns.ts';
import type { EngineContext } from './context.ts';
import { toJson } from './json.ts';
import { makeReady, replaceArtifact } from './make-ready.ts';
import { readInputs } from './memo.ts';
import { changeStep, emit, enqueue, type RunWork, type WorkStep } from './run-work.ts';

/**
 * A step is whole. One process made it: the queue `finalize` hands it to a controller. A fleet made it: what its shards add up to is
 * compared with the list, and an attempt of its own makes the artifact, which the leader admits.
 */
export async function beginFinalizing(run: RunWork, step: WorkStep): Promise<void> {
  if (step.shardsTotal !== null) {
    const proof = await proveBySums(run, step);
    if ('failure' in proof) return recordFailure(run, step, proof.failure);
    await run.tx.artifact.update({
      where: { id: step.artifact?.id ?? '', state: 'building' },
      data: { details: toJson({ ...('list' in step.settings && { list: step.settings.list }), ...proof.details }) },
    });
  } else enqueue(run, 'finalize', step.id, step.generation);
  changeStep(run, step, { finalizing: true });
}

const sumsRow = z.object({
  shards: z.number().int(),
  rows: z.number().int(),
  rejected: z.number().int(),
  /** Each is committed, and its counts are its length. */
  areWhole: z.boolean(),
  /** Each begins where the one before it ends, the first at 0. */
  areTiles: z.boolean(),
  end: z.number().int(),
  idsSha256: z.string().nullable(),
});

/**
 * `rows + rejected = distinct`, by sums alone: every shard was proved when it was committed, and the shards are the list, cut without a
 * gap and without an overlap.
 */
async function proveBySums(run: RunWork, step: WorkStep): Promise<{ details: Record<string, unknown> } | { failure: FailureView }> {
  const [sums] = z.array(sumsRow).parse(
    await run.tx.$queryRaw`
      select count(*)::int as shards, coalesce(sum(rows), 0)::int as rows, coalesce(sum(rejected), 0)::int as rejected,
        coalesce(bool_and(state = 'committed' and rows + rejected = count), false) as "areWhole",
        coalesce(bool_and(from_row = before), false) as "areTiles", coalesce(max(from_row + count), 0)::int as "end",
        case when bool_and(ids_sha256 is not null)
          then encode(sha256(convert_to(string_agg(ids_sha256, '' order by "index"), 'UTF8')), 'hex') end as "idsSha256"
      from (select *, coalesce(lag(from_row + count) over (order by "index"), 0) as before from shard where step_id = ${step.id}) s`,
  );
  const inputs = await readInputs(run, step);
  const { fleet } = rulesOf(step);
  const items = fleet?.plan(step.name, (role) => inputs[role]?.details).items;
  if (!sums?.areWhole || !sums.areTiles || sums.end !== items || sums.shards !== step.shardsTotal) {
    const found = sums && `${sums.shards} shards up to ${sums.end} with ${sums.rows} rows and ${sums.rejected} rejected images`;
    const message = `The committed shards do not make up the ${items ?? 'unknown'} images of the list: ${found}`;
    return { failure: { cause: 'data', code: 'corrupt_artifact', message } };
  }
  const { shards, rows, rejected, idsSha256 } = sums;
  const allowed = fleet?.allowedRejects ?? 0;
  if (rejected > allowed * items) {
    const message = `${rejected} of ${items} images of the list cannot be read, more than the allowed share of ${allowed}; the attempts' logs name them`;
    return { failure: { cause: 'data', code: 'too_many_bad_images', message } };
  }
  return { details: { rows, rejected, shards, countProof: { distinctIds: items, rows, rejected, idsSha256 } } };
}

const filesRow = z.object({ count: z.number().int(), bytes: z.coerce.number().int(), digest: sha256Hex, files: artifactFilesColumn });

/**
 * An attempt says that it has made a fleet's artifact. Its digest has to be that of the committed files, which the database computes:
 * tens of thousands of names pass through no program of the control plane.
 *
 * @throws CairnError `invalid_request` when the attempt made something else
 */
export async function finalizedFleet(run: RunWork, step: WorkStep, details: Record<string, unknown>): Promise<void> {
  if (step.state !== 'active' || !step.finalizing) return;
  // The digest is `contentDigest` of libs/storage: SHA-256 of the canonical JSON of [{name, sha256}] by name.
  const [made] = z.array(filesRow).parse(
    await run.tx.$queryRaw`
      with file as (select f->>'name' as name, (f->>'bytes')::bigint as bytes, f->>'sha256' as sha256
                      from shard s, jsonb_array_elements(s.files) f where s.step_id = ${step.id} and s.state = 'committed')
      select count(*)::int as count, coalesce(sum(bytes), 0)::text as bytes,
        encode(sha256(convert_to('[' || coalesce(string_agg('{"name":' || to_json(name) || ',"sha256":"' || sha256 || '"}', ','
          order by name collate "C"), '') || ']', 'UTF8')), 'hex') as digest,
        coalesce((select jsonb_agg(to_jsonb(f) order by name collate "C") from file f where (select count(*) from file) <= ${maxListedFiles}), '[]') as files
      from file`,
  );
  const told = z.object({ digest: sha256Hex }).safeParse(details);
  if (!made || made.digest !== told.data?.digest)
    throw new CairnError(
      'invalid_request',
      `the artifact of ${step.name} has the digest ${told.data?.digest}, its committed files ${made?.digest}`,
    );
  await makeReady(run, step, { digest: made.digest, files: made.files, fileCount: made.count, bytes: made.bytes });
  // Whoever takes it finds nothing to finalize, and removes what was staged.
  enqueue(run, 'finalize', step.id, step.generation);
}

/** Shards whose staged files are not what was committed are open again; the others stay as they are. */
export async function reopenShards(run: RunWork, step: WorkStep, indexes: readonly number[]): Promise<void> {
  if (step.state !== 'active' || !step.finalizing) return;
  const [recalled] = await run.tx.$queryRaw<{ shards: number; rows: number; rejected: number }[]>`
    with bad as (select "index", rows, rejected from shard
                  where step_id = ${step.id} and "index" = any(${[...indexes]}::int[]) and state = 'committed' for update),
         opened as (update shard s set state = 'pending', attempt_id = null, rows = null, rejected = null, files = '[]', ids_sha256 = null, seconds = null
                      from bad where s.step_id = ${step.id} and s."index" = bad."index")
    select count(*)::int as shards, coalesce(sum(rows), 0)::int as rows, coalesce(sum(rejected), 0)::int as rejected from bad`;
  if (!recalled || recalled.shards === 0) return;
  const { shards, rows, rejected } = recalled;
  await run.tx.step.update({
    where: { id: step.id },
    data: { rows: { decrement: rows }, rejected: { decrement: rejected } },
  });
  changeStep(run, step, { finalizing: false, shardsCommitted: step.shardsCommitted - shards });
  await replaceArtifact(run, step);
  const said = `the staged files of ${shards === 1 ? 'a shard' : `${shards} shards`} are not what was committed; extracted again`;
  emit(run, 'note', `${step.name}: ${said}`, { step: step.name, level: 'warning', said });
}

/** Staged files of a fleet's shards from the shard `from` on, for the attempt that makes the artifact of them. */
export async function stagedFiles(ctx: EngineContext, attemptId: string, generation: number, from: number): Promise<StagedFilesPage> {
  const { stepId } = await liveAttempt(ctx.prisma, attemptId, generation);
  const shards = await ctx.prisma.shard.findMany({
    where: { stepId, index: { gte: from }, state: 'committed' },
    orderBy: { index: 'asc' },
    take: stagedShardsPerPage,
    select: { index: true, files: true },
  });
  const last = shards.at(-1);
  return {
    shards: shards.map(({ index, files }) => ({ index, files: filesColumn.parse(files) })),
    next: last && shards.length === stagedShardsPerPage ? last.index + 1 : null,
  };
}
