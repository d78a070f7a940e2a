import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileGate } from '../file-gate.ts';

/** A tar when it was indexed. It is indexed again if its size or modification time differs. */
export type IndexedTar = {
  tar: string;
  bytes: number;
  changedAtMs: number;
  md5: string | null;
  md5Checked: boolean;
  images: number;
  /** Files in it that are not images. */
  others: number;
  /** Entries with names of images that are not indexed ({@link ScannedTar}). */
  unindexed: number;
};

/** The default location of the index of a folder of tars. */
export const tarIndexFolder = (root: string): string => join(root, 'tars-index');

/** The index of one tar: the Parquet file of its images (image_id, tar, offset, size), and its entry, which is written last. */
export const partOf = (index: string, tar: string): string => join(index, 'parts', tar.replace(/\.tar$/, '.parquet'));
export const entryOf = (index: string, tar: string): string => join(index, 'parts', tar.replace(/\.tar$/, '.json'));

/** An entry is a few hundred bytes. */
const mostEntryBytes = 64 * 1024;

/** The indexed entry of an unchanged tar (relative to `root`); null if the tar must be read. */
export async function knownTar(index: string, root: string, tar: string, gate: FileGate): Promise<IndexedTar | null> {
  const { size, mtimeMs } = await stat(await gate.realPath(join(root, tar)));
  const known = await readEntry(entryOf(index, tar), gate);
  if (known?.tar !== tar || known.bytes !== size || known.changedAtMs !== mtimeMs) return null;
  return access(partOf(index, tar)).then(
    () => known,
    () => null,
  );
}

async function readEntry(path: string, gate: FileGate): Promise<IndexedTar | null> {
  try {
    const file = await gate.open(path);
    try {
      if ((await file.stat()).size > mostEntryBytes) return null;
      const value: unknown = JSON.parse(await file.readFile('utf8'));
      return isIndexedTar(value) ? value : null;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error && error.code === 'ENOENT')) return null;
    throw error;
  }
}

function isIndexedTar(value: unknown): value is IndexedTar {
  if (typeof value !== 'object' || value === null || !('tar' in value) || !('md5' in value)) return false;
  const numbers: Record<string, unknown> = { ...value };
  return (
    typeof value.tar === 'string' &&
    ['bytes', 'changedAtMs', 'images', 'others', 'unindexed'].every((name) => typeof numbers[name] === 'number')
  );
}
