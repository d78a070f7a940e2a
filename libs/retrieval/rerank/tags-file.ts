import { mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError, tagsFile } from '@cairn/contract';
import type { IdOrder } from '../features/id-table.ts';
import { wholeFile } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';

/** What tags are of, by content: the feature sets of index and references, and the list of the references. */
export type TagsOrigin = { index: string; references: string; list: string };

/** An image, its nearest reference, and their inner product. */
export type Tag = [imageId: string, referenceId: string, similarity: number];

/** Writes a shard's tags: image_id, reference_id, similarity, with what they are of in the file's metadata. */
export async function writeTags(
  parquet: Parquet,
  { outDir, part, rows, origin }: { outDir: string; part: number; rows: readonly Tag[]; origin: TagsOrigin },
): Promise<{ name: string; path: string }> {
  const name = tagsFile(part);
  const path = join(outDir, name);
  await mkdir(dirname(path), { recursive: true });
  const columns = { image_id: 'text', reference_id: 'text', similarity: 'double' } as const;
  await wholeFile(path, (unfinished) => parquet.write({ path: unfinished, columns, rows, metadata: origin }));
  return { name, path };
}

export type ReadTagsOptions = {
  parquet: Parquet;
  /** The folder of all shards, and what they must be of. */
  dir: string;
  origin: TagsOrigin;
  /** The ids in the order of their places. */
  indexIds: IdOrder;
  referenceIds: IdOrder;
  signal?: AbortSignal | undefined;
};

/**
 * The place of the nearest reference of each index image, by place. Throws `model_mismatch` for tags of other features or another list,
 * `corrupt_artifact` for images without a tag and references that are not in the list.
 */
export async function readTags({ parquet, dir, origin, indexIds, referenceIds, signal }: ReadTagsOptions): Promise<Int32Array> {
  const tags = new Int32Array(indexIds.length).fill(-1);
  const folder = join(dir, dirname(tagsFile(0)));
  for (const name of (await readdir(folder)).toSorted()) {
    const path = join(folder, name);
    await assertOrigin({ parquet, path, what: 'tags', origin, signal });
    const sql = 'select image_id, reference_id from read_parquet($path)';
    const table = await parquet.query({ path, sql }, signal);
    const references = table.text('reference_id');
    for (const [row, id] of table.text('image_id').entries()) {
      const reference = placeIn(referenceIds, references[row] ?? '');
      if (reference === -1)
        throw new CairnError('corrupt_artifact', `${path} tags the image ${id} with ${references[row]}, which is not a reference`);
      const place = placeIn(indexIds, id);
      if (place !== -1) tags[place] = reference;
    }
  }
  const without = Array.from(tags.keys()).filter((place) => tags[place] === -1);
  if (without.length > 0) {
    const examples = without.slice(0, 5).map((place) => indexIds.at(place));
    throw new CairnError(
      'corrupt_artifact',
      `The tags in ${dir} lack ${without.length} of ${indexIds.length} index images, such as ${examples.join(', ')}. Tag the index again.`,
    );
  }
  return tags;
}

/** The place of an id, or -1. */
export function placeIn({ table, placeOf }: IdOrder, id: string): number {
  const number = table.find(id);
  return number === -1 ? -1 : (placeOf[number] ?? -1);
}

const names: Record<string, string> = {
  index: 'features of the index',
  query: 'features of the queries',
  references: 'features of the references',
  list: 'references',
  constants: 'constants',
};

/** What the metadata of a file of tags or votes says that these are of. Throws `model_mismatch` where that is another. */
export async function assertOrigin({
  parquet,
  path,
  what,
  origin,
  signal,
}: {
  parquet: Parquet;
  path: string;
  what: 'tags' | 'votes';
  origin: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const metadata = await parquet.metadata(path, signal);
  const other = Object.entries(origin).find(([key, value]) => metadata.get(key) !== value);
  if (other === undefined) return;
  const [key, value] = other;
  const found = metadata.get(key) ?? 'a file that does not tell';
  const kind = what === 'tags' ? 'tag' : 'vote';
  throw new CairnError('model_mismatch', `${path} has the ${what} of other ${names[key]}: of ${found}, not of ${value}`, {
    details: { remedy: `Use the ${what} of a step \`${kind}\` with the same inputs and settings as the search.` },
  });
}
