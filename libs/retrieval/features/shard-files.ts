import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError, type FeatureFile, partFile } from '@cairn/contract';
import { sha256, sha256File } from '@cairn/runtime';
import { writingTo } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createNpy } from './npy.ts';

/** A rejected image, the reason, and the bytes that it has by the list; null where that does not tell. */
export type RejectedImage = { imageId: string; path: string; reason: string; bytes: number | null };

/** `name` is relative to the folder of the feature set, with forward slashes; `path` is the location of the file. */
export type ShardFile = { name: string; path: string; bytes: number; sha256: string };

export type ShardFiles = {
  /** Appends the features of these images, ids.length x dim. */
  append(imageIds: readonly string[], features: Float16Array): Promise<void>;
  /** Writes the rest, then renames the files; that of rejected images only if there are any. */
  commit(rejected: readonly RejectedImage[]): Promise<ShardFile[]>;
  /** Removes unfinished files. A no-op after `commit`. */
  discard(): Promise<void>;
};

/** The folder of unfinished files: on the same file system, and outside the folders that other tools read completely. */
const UNFINISHED = '.unfinished';

/**
 * The files of a shard: features, ids and, if there are any, rejected images. They are written under temporary names and renamed when all
 * are complete. Throws `storage_full` if the disk is full.
 */
export async function createShardFiles(
  { outDir, part, dim, parquet }: { outDir: string; part: number; dim: number; parquet: Parquet },
  signal: AbortSignal | undefined,
): Promise<ShardFiles> {
  const kinds: FeatureFile[] = ['embeddings', 'metadata', 'rejected'];
  const unfinished = (kind: FeatureFile) => join(outDir, UNFINISHED, partFile(kind, part));
  const imageIds: string[] = [];

  const npy = await writingTo(outDir, async () => {
    for (const kind of kinds) await mkdir(dirname(unfinished(kind)), { recursive: true });
    return createNpy(unfinished('embeddings'), dim);
  });

  async function finish(kind: FeatureFile): Promise<ShardFile> {
    const name = partFile(kind, part);
    const path = join(outDir, name);
    const sha256 = await sha256File(unfinished(kind), signal);
    const { size } = await stat(unfinished(kind));
    await mkdir(dirname(path), { recursive: true });
    await rename(unfinished(kind), path);
    return { name, path, bytes: size, sha256 };
  }

  return {
    append(ids, features) {
      imageIds.push(...ids);
      return writingTo(outDir, () => npy.append(features));
    },
    commit(rejected) {
      return writingTo(outDir, async () => {
        await npy.finish();
        await parquet.write(
          { path: unfinished('metadata'), columns: { image_id: 'text' }, rows: imageIds.map((imageId) => [imageId]) },
          signal,
        );
        const columns = { image_id: 'text', path: 'text', reason: 'text', bytes: 'bigint' } as const;
        const reasons = rejected.map(({ imageId, path, reason, bytes }) => [imageId, path, reason, bytes]);
        if (reasons.length > 0) await parquet.write({ path: unfinished('rejected'), columns, rows: reasons }, signal);
        const files: ShardFile[] = [];
        for (const kind of kinds) if (kind !== 'rejected' || reasons.length > 0) files.push(await finish(kind));
        return files;
      });
    },
    async discard() {
      await npy.close();
      for (const kind of kinds) await rm(unfinished(kind), { force: true });
    },
  };
}

export type WrittenShard = {
  /** The shard's ids, each once, in the order of the list. */
  list: readonly string[];
  /** The ids of the features' rows. */
  features: Iterable<string>;
  /** The ids of the rejected images. */
  rejected: Iterable<string>;
};

/** The faults of an id, as shown in the message. */
const faults = {
  missing: 'in neither the features nor the rejected images',
  unexpected: 'not in the shard',
  repeated: 'twice in the features',
  rejectedTwice: 'twice in the rejected images',
  both: 'in the features and in the rejected images',
} as const;
type Fault = keyof typeof faults;

/**
 * Proves that a shard is complete: each of its ids is once in the features or in the rejected images, and there are no others. Returns the
 * SHA-256 of its ids, each with a line end.
 *
 * @throws CairnError `corrupt_artifact` with the count and up to five examples of each fault
 */
export function proveShard({ list, features, rejected }: WrittenShard): string {
  const expected = new Set(list);
  const found = new Map<Fault, { count: number; examples: string[] }>();
  const blame = (fault: Fault, id: string) => {
    const { count, examples } = found.get(fault) ?? { count: 0, examples: [] };
    found.set(fault, { count: count + 1, examples: count < 5 ? [...examples, id] : examples });
  };
  const rows = new Set<string>();
  for (const id of features) {
    if (rows.has(id)) blame('repeated', id);
    else if (!expected.has(id)) blame('unexpected', id);
    rows.add(id);
  }
  const reasons = new Set<string>();
  for (const id of rejected) {
    if (reasons.has(id)) blame('rejectedTwice', id);
    else if (rows.has(id)) blame('both', id);
    else if (!expected.has(id)) blame('unexpected', id);
    reasons.add(id);
  }
  for (const id of expected) if (!rows.has(id) && !reasons.has(id)) blame('missing', id);

  if (found.size === 0) return sha256(list.map((id) => `${id}\n`).join(''));
  const sentences = [...found].map(([fault, { count, examples }]) => `${count} ${faults[fault]} (${examples.join(', ')})`);
  throw new CairnError(
    'corrupt_artifact',
    `The written files do not match the ${expected.size} images of the shard: ${sentences.join('; ')}`,
    { details: Object.fromEntries(found) },
  );
}
