import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type FeatureFile, partFile } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { writingTo } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createNpy } from './npy.ts';

/** An image that is left out, and why. */
export type RejectedImage = { imageId: string; path: string; reason: string };

/** `name` is relative to the folder of the feature set, with forward slashes; `path` is where the file lies. */
export type ShardFile = { name: string; path: string; bytes: number; sha256: string };

export type ShardFiles = {
  /** Appends the features of these images, ids.length x dim. */
  append(imageIds: readonly string[], features: Float16Array): Promise<void>;
  /** Writes what is left, then gives the files their names; that of rejected images only when there are any. */
  commit(rejected: readonly RejectedImage[]): Promise<ShardFile[]>;
  /** Removes what was begun. After `commit` it does nothing. */
  discard(): Promise<void>;
};

/** Unfinished files lie here: on the same file system, and outside the folders that other tools read as a whole. */
const UNFINISHED = '.unfinished';

/**
 * The files of a shard: features, ids and, where there are any, rejected images. They are written under another name and renamed once all are
 * complete. Throws `storage_full` where no space is left.
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
        const columns = { image_id: 'text', path: 'text', reason: 'text' } as const;
        const reasons = rejected.map(({ imageId, path, reason }) => [imageId, path, reason]);
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
