import { createHash } from 'node:crypto';
import { type FeatureFile, partFile, stepSettings, stepVersions } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { inParallel, newId, sha256 } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';

export type FleetSize = { ids: number; shards: number /** Shards that have a rejected image. */; rejecting: number };

/** The number of shards left to commit: by a worker of ours, over /internal. */
export const leftShards = 4;

const distinctOf = (shard: number, { ids, shards }: FleetSize) =>
  Math.floor(((shard + 1) * ids) / shards) - Math.floor((shard * ids) / shards);

/** The staged files of a shard: a few bytes each. */
export function stagedParts(attemptId: string, shard: number, size: FleetSize) {
  const kinds: FeatureFile[] = shard < size.rejecting ? ['embeddings', 'metadata', 'rejected'] : ['embeddings', 'metadata'];
  return kinds.map((kind) => {
    const name = partFile(kind, shard);
    const content = `${kind} of shard ${shard}`;
    return { content, file: { name, key: `staging/${attemptId}/${name}`, bytes: content.length, sha256: sha256(content) } };
  });
}

export function commitOf(attemptId: string, shard: number, size: FleetSize) {
  const rejected = shard < size.rejecting ? 1 : 0;
  return {
    rows: distinctOf(shard, size) - rejected,
    rejected,
    files: stagedParts(attemptId, shard, size).map(({ file }) => file),
    idsSha256: idsSha256(shard, size),
    seconds: { read: 0, decode: 0, infer: 0, write: 0 },
  };
}

/** Of generated ids, as in `proveShard`. */
function idsSha256(shard: number, size: FleetSize): string {
  const from = Math.floor((shard * size.ids) / size.shards);
  const hash = createHash('sha256');
  for (let id = from; id < from + distinctOf(shard, size); id += 1) hash.update(`${id.toString(16).padStart(16, '0')}\n`);
  return hash.digest('hex');
}

/** Stores the parts of every shard. */
export async function stageParts(store: ObjectStore, attemptId: string, size: FleetSize, put = store.put): Promise<void> {
  await inParallel(Array.from({ length: size.shards }, (_, shard) => shard).values(), 32, async (shard) => {
    for (const { content, file } of stagedParts(attemptId, shard, size)) await put(file.key, content);
  });
}

/**
 * Rows of a run whose only remaining work is the end of one extraction: all but the last few shards are committed by a worker that has ended,
 * and another is working.
 */
export async function insertFleet(prisma: PrismaClient, worked: string, size: FleetSize) {
  const [runId, stepId, live, lists, features, datasetId] = (['run', 'step', 'attempt', 'artifact', 'artifact', 'dataset'] as const).map(
    (kind) => newId(kind),
  ) as [string, string, string, string, string, string];
  const committed = size.shards - leftShards;
  const rows = Array.from({ length: size.shards }, (_, index) => {
    const common = { stepId, index, fromRow: Math.floor((index * size.ids) / size.shards), count: distinctOf(index, size) };
    return index < committed ? { ...common, ...commitOf(worked, index, size), state: 'committed', attemptId: worked } : common;
  });
  const sum = (of: 'rows' | 'rejected') => rows.reduce((total, row) => total + ('rows' in row ? row[of] : 0), 0);
  const own = { projectId: 'default', owner: 'ada' };
  await prisma.$transaction(
    async (tx) => {
      const source = { kind: 'folder', root: '/images', metadata: '/metadata', countries: null };
      await tx.dataset.create({
        data: { id: datasetId, ...own, name: 'made', version: 1, source, digest: sha256('made'), digestBasis: 'test' },
      });
      const asked = { recipeName: 'made', recipe: {}, noReuse: [], requestDigest: sha256(runId) };
      await tx.run.create({ data: { id: runId, ...own, name: 'made', datasetId, state: 'running', ...asked } });
      const listsDetails = { lists: { index: { rows: size.ids + 7, distinct: size.ids, classes: null } } };
      const artifact = { projectId: 'default', runId };
      const ready = { state: 'ready', digest: sha256('lists'), prefix: `lists/${lists}/`, details: listsDetails };
      await tx.artifact.create({ data: { id: lists, ...artifact, kind: 'lists', stepName: 'prepare', ...ready } });
      const building = {
        kind: 'features',
        stepName: 'extract_index',
        state: 'building',
        prefix: `features/${features}/`,
        memoKey: sha256(features),
      };
      const memoParts = { kind: 'extract', version: stepVersions.extract, settings: {}, inputs: {}, source: null };
      await tx.artifact.create({ data: { id: features, ...artifact, ...building, memoParts } });
      const prepare = {
        name: 'prepare',
        kind: 'prepare',
        settings: stepSettings.prepare.parse({}),
        needs: [],
        pool: 'tasks',
        slots: 1,
        maxAttempts: 1,
      };
      await tx.step.create({ data: { id: newId('step'), runId, position: 0, ...prepare, state: 'succeeded', artifactId: lists } });
      await tx.step.create({
        data: {
          id: stepId,
          runId,
          position: 1,
          name: 'extract_index',
          kind: 'extract',
          settings: stepSettings.extract.parse({ list: 'index', shards: size.shards, maxBadImageShare: 0.01 }),
          needs: [{ role: 'lists', step: 'prepare' }],
          pool: 'gpu',
          slots: 1,
          maxAttempts: 8,
          state: 'active',
          startedAt: new Date(),
          artifactId: features,
          shardsTotal: size.shards,
          shardsCommitted: committed,
          rows: sum('rows'),
          rejected: sum('rejected'),
        },
      });
      const attempt = { runId, stepId, stepGeneration: 1, pool: 'tasks', slots: 1 };
      await tx.attempt.create({ data: { id: worked, ...attempt, ordinal: 1, state: 'succeeded', endedAt: new Date() } });
      const heard = { instance: 'made for a test', contact: 'ok', lastContactAt: new Date(Date.now() + 5_000) };
      await tx.attempt.create({ data: { id: live, ...attempt, ordinal: 2, state: 'running', ...heard } });
      for (let from = 0; from < rows.length; from += 2_000) await tx.shard.createMany({ data: rows.slice(from, from + 2_000) });
    },
    { timeout: 60_000 },
  );
  return { runId, stepId, live, features };
}
