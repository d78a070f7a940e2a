import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, featureFolders, partFile } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import { type ObjectStore, readManifest } from '@cairn/storage';
import type { Shard } from '../fleet/held-shards.ts';
import type { FleetContext } from '../fleet/run-shards.ts';

/** A feature set whose features are taken over where the images are the same. */
export type EarlierSet = {
  /** What it has of the list, and the folder with the parts that are in use. */
  rows: { path: string; folder: string };
  images: number;
  known: number;
  /** Images of its list that the new list lacks, and the first of them. */
  missing: number;
  firstMissing: string | null;
  /** The shards that it has as they are: the same rows, none of them rejected. */
  whole: { index: number; rows: number; idsSha256: string; files: { name: string; bytes: number; sha256: string }[] }[];
  /** Fetches the parts that a shard needs. Without one its images are extracted. */
  use(shard: Pick<Shard, 'from' | 'count'>): Promise<{ end(): Promise<void> }>;
};

export type EarlierOptions = {
  store: ObjectStore;
  prefix: string;
  /** A folder for its files. */
  folder: string;
  /** The list that is extracted, and that of the set. */
  list: string;
  earlierList: string;
  /** Whether images that it rejected stay rejected. */
  keepsRejected: boolean;
  /** Images of a shard, to find those that the set has as they are. */
  shardRows?: number;
};

const parallelFetches = 8;

/**
 * Opens the feature set at `prefix` to go on from.
 *
 * @throws CairnError `not_found` where it is gone, `corrupt_artifact` where its files are not those of its manifest
 */
export async function openEarlierSet(
  { stop, log }: Pick<FleetContext, 'stop' | 'log'>,
  { store, prefix, folder, list, earlierList, keepsRejected, shardRows }: EarlierOptions,
): Promise<EarlierSet> {
  const signal = stop.asked;
  const { planDifference } = await import('@cairn/dataset');
  const { files } = await readManifest(store, prefix, signal);
  const isOf = (kind: 'metadata' | 'rejected') => (file: { name: string }) => file.name.startsWith(`${featureFolders[kind]}/`);
  const tables = files.filter((file) => isOf('metadata')(file) || isOf('rejected')(file));
  await inParallel(tables.values(), parallelFetches, async ({ name, sha256 }) => {
    await store.download(`${prefix}/${name}`, join(folder, name), { sha256, signal });
  });
  const pathsOf = (kind: 'metadata' | 'rejected'): string[] => tables.filter(isOf(kind)).map(({ name }) => join(folder, name));
  const path = join(folder, 'known.parquet');
  const { parts, whole, ...difference } = await planDifference({
    ...{ list, earlierList, metadata: pathsOf('metadata'), rejected: pathsOf('rejected'), keepsRejected, out: path, signal },
    ...(shardRows === undefined ? {} : { shardRows }),
  });
  const byName = new Map(files.map((file) => [file.name, file]));
  for (const name of [featureFolders.metadata, featureFolders.rejected]) await rm(join(folder, name), { recursive: true, force: true });

  const inUse = new Map<number, { uses: number; fetched: Promise<void> }>();

  async function fetchPart(part: number): Promise<void> {
    const name = partFile('embeddings', part);
    const sha256 = byName.get(name)?.sha256;
    try {
      if (sha256 === undefined) throw new CairnError('corrupt_artifact', `${prefix} has no ${name}`);
      await store.download(`${prefix}/${name}`, join(folder, name), { sha256, signal });
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ err: error }, `${name} of ${prefix} cannot be read: its images are extracted again`);
    }
  }

  function take(part: number): { fetched: Promise<void> } {
    const known = inUse.get(part) ?? { uses: 0, fetched: fetchPart(part) };
    known.uses += 1;
    inUse.set(part, known);
    return known;
  }

  async function leave(part: number): Promise<void> {
    const known = inUse.get(part);
    if (known === undefined) return;
    known.uses -= 1;
    if (known.uses > 0) return;
    inUse.delete(part);
    await rm(join(folder, partFile('embeddings', part)), { force: true });
  }

  return {
    ...difference,
    rows: { path, folder },
    whole: whole.flatMap((shard) => {
      const found = [byName.get(partFile('embeddings', shard.index)), byName.get(partFile('metadata', shard.index))];
      const present = found.filter((file) => file !== undefined);
      return present.length === found.length && !byName.has(partFile('rejected', shard.index)) ? [{ ...shard, files: present }] : [];
    }),
    async use({ from, count }) {
      const needed = parts.filter(({ first, last }) => first < from + count && last >= from).map(({ part }) => part);
      const taken = needed.map(take);
      for (const { fetched } of taken) await fetched;
      return {
        async end() {
          for (const part of needed) await leave(part);
        },
      };
    },
  };
}
