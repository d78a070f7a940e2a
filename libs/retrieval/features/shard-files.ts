import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type FeatureFile, partFile } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { writingTo } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createNpy } from './npy.ts';

/** A rejected image, and the reason. */
export type RejectedImage = { imageId: string; path: string; reason: string };

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
