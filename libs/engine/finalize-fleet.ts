import {
  CairnError,
  type FailureView,
  maxListedFiles,
  modelDetails,
  type StagedFilesPage,
  sha256Hex,
  shardSeconds,
  stagedShardsPerPage,
} from '@cairn/contract';
import { rulesOf } from '@cairn/domain';
import { z } from 'zod';
import { liveAttempt, recordFailure } from './attempts/spec.ts';
import { artifactFilesColumn, filesColumn, toJson } from './columns.ts';
import type { EngineContext } from './engine.ts';
import { inputArtifact, makeReady, readInputs, replaceArtifact } from './memo.ts';
import { changeStep, emit, enqueue, type RunWork, type WorkStep } from './run-work.ts';

/**
 * A step is complete. If one process made it, the queue `finalize` hands it to a controller. If a fleet made it, the sums over its shards
 * are compared with its items, and a separate attempt, which the leader admits, makes the artifact.
 */
export async function beginFinalizing(run: RunWork, step: WorkStep): Promise<void> {
  if (step.shardsTotal !== null) {
    const proof = await proveBySums(run, step);
    if ('failure' in proof) return recordFailure(run, step, proof.failure);
    const origin = await originOfFeatures(run, step);
    await run.tx.artifact.update({
      where: { id: step.artifact?.id ?? '', state: 'building' },
      data: { details: toJson({ ...('list' in step.settings && { list: step.settings.list }), ...origin, ...proof.details }) },
    });
  } else enqueue(run, 'finalize', step.id, step.generation);
  changeStep(run, step, { finalizing: true });
}

/** The model that extracted features, and how it was given the images: a search refuses to compare sets in which these differ. */
async function originOfFeatures(run: RunWork, step: WorkStep): Promise<Record<string, unknown>> {
  const model = await inputArtifact(run, step, 'model');
  if (model === null) return {};
  const { preprocessing, scales, flip } = modelDetails.partial().safeParse(model.details).data ?? {};
  const told = Object.entries({ preprocessing, scales, flip }).filter(([, value]) => value !== undefined);
  return { model: model.digest, ...Object.fromEntries(told) };
}

const sumsRow = z.object({
  shards: z.number().int(),
  rows: z.number().int(),
  rejected: z.number().int(),
  /** Every shard is committed, and its counts add up to its length. */
  areWhole: z.boolean(),
  /** Each shard begins where the previous one ends, the first at 0. */
  areTiles: z.boolean(),
  end: z.number().int(),
  idsSha256: z.string().nullable(),
  seconds: shardSeconds,
  /** Null where no shard tells. */
  bytesRead: z.coerce.number().int().nullable(),
  devices: z.array(z.string()),
  versions: z.array(z.record(z.string(), z.string())),
});

/**
 * Proves `rows + rejected = distinct` by sums alone: every shard was proved when it was committed, and the shards cover the list without a
 * gap or an overlap.
 */
async function proveBySums(run: RunWork, step: WorkStep): Promise<{ details: Record<string, unknown> } | { failure: FailureView }> {
  const [sums] = z.array(sumsRow).parse(
    await run.tx.$queryRaw`
      select count(*)::int as shards, coalesce(sum(rows), 0)::int as rows, coalesce(sum(rejected), 0)::int as rejected,
        coalesce(bool_and(state = 'committed' and rows + rejected = count), false) as "areWhole",
        coalesce(bool_and(from_row = before), false) as "areTiles", coalesce(max(from_row + count), 0)::int as "end",
        case when bool_and(ids_sha256 is not null)
          then encode(sha256(convert_to(string_agg(ids_sha256, '' order by "index"), 'UTF8')), 'hex') end as "idsSha256",
        jsonb_build_object('read', coalesce(sum((seconds->>'read')::float8), 0), 'decode', coalesce(sum((seconds->>'decode')::float8), 0),
          'infer', coalesce(sum((seconds->>'infer')::float8), 0), 'write', coalesce(sum((seconds->>'write')::float8), 0)) as seconds,
        sum((work->>'bytesRead')::bigint)::text as "bytesRead",
        coalesce(jsonb_agg(distinct work->'device') filter (where work is not null), '[]') as devices,
        coalesce(jsonb_agg(distinct work->'versions') filter (where work is not null), '[]') as versions
      from (select *, coalesce(lag(from_row + count) over (order by "index"), 0) as before from shard where step_id = ${step.id}) s`,
  );
  const inputs = await readInputs(run, step);
  const { fleet } = rulesOf(step);
  const items = fleet?.plan(step.name, inputs[fleet.sizedBy]?.details).items;
  if (!sums?.areWhole || !sums.areTiles || sums.end !== items || sums.shards !== step.shardsTotal) {
    const found = sums && `${sums.shards} shards up to ${sums.end} with ${sums.rows} rows and ${sums.rejected} rejected images`;
    const message = `The committed shards do not add up to the ${items ?? 'unknown'} images of the list: ${found}`;
    return { failure: { cause: 'data', code: 'corrupt_artifact', message } };
  }
  const { shards, rows, rejected, idsSha256, seconds, bytesRead, devices, versions } = sums;
  const allowed = fleet?.allowedRejects ?? 0;
  if (rejected > allowed * items) {
    const message = `${rejected} of ${items} images of the list are unreadable, more than the allowed share of ${allowed}; the logs of the attempts name them`;
    return { failure: { cause: 'data', code: 'too_many_bad_images', message } };
  }
  const madeBy = devices.length === 0 ? {} : { madeBy: { seconds, bytesRead, devices, versions } };
  return { details: { rows, rejected, shards, countProof: { distinctIds: items, rows, rejected, idsSha256 }, ...madeBy } };
}

const filesRow = z.object({ count: z.number().int(), bytes: z.coerce.number().int(), digest: sha256Hex, files: artifactFilesColumn });

/**
 * Records that an attempt has made a fleet's artifact. Its digest must be that of the committed files, which the database computes, so that
 * tens of thousands of names do not pass through the control plane's programs.
 *
 * @throws CairnError `invalid_request` when the digests differ
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
  const reported = z.object({ digest: sha256Hex }).safeParse(details);
  if (!made || made.digest !== reported.data?.digest)
    throw new CairnError(
      'invalid_request',
      `the artifact of ${step.name} has the digest ${reported.data?.digest}, but its committed files have ${made?.digest}`,
    );
  await makeReady(run, step, { digest: made.digest, files: made.files, fileCount: made.count, bytes: made.bytes });
  // The controller that takes the entry finds nothing to finalize, and removes the staged files.
  enqueue(run, 'finalize', step.id, step.generation);
}

/** Reopens shards whose staged files differ from what was committed; the others stay committed. */
export async function reopenShards(run: RunWork, step: WorkStep, indexes: readonly number[]): Promise<void> {
  if (step.state !== 'active' || !step.finalizing) return;
  const [recalled] = await run.tx.$queryRaw<{ shards: number; rows: number; rejected: number }[]>`
    with bad as (select "index", rows, rejected from shard
                  where step_id = ${step.id} and "index" = any(${[...indexes]}::int[]) and state = 'committed' for update),
         opened as (update shard s set state = 'pending', attempt_id = null, rows = null, rejected = null, files = '[]', ids_sha256 = null,
                           seconds = null, work = null, committed_at = null
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
  const message = `the staged files of ${shards === 1 ? 'a shard' : `${shards} shards`} differ from what was committed; doing ${shards === 1 ? 'it' : 'them'} again`;
  emit(run, 'note', `${step.name}: ${message}`, { step: step.name, level: 'warning', said: message });
}

/** Staged files of a fleet's shards starting with the shard `from`, for the attempt that makes the artifact. */
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
