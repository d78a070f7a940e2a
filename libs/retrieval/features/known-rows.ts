import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, partFile } from '@cairn/contract';
import type { Parquet } from '../parquet/open-parquet.ts';
import { type NpyHeader, readNpyHeader } from './npy.ts';

/** Where the feature of an image is: `dim` float16 values, little-endian, from byte `offset` on. */
export type FeaturePlace = { path: string; offset: number };
/** What an earlier extraction found out about an image: its feature, or why it has none. */
export type KnownRow = FeaturePlace | { reason: string };
/** By image id. */
export type KnownRows = ReadonlyMap<string, KnownRow>;

const valueBytes = 2;

/** Reads features by place. Neighbouring ones are read at once, and the last file stays open. */
export function openFeatureReader(dim: number) {
  const rowBytes = dim * valueBytes;
  let current: { path: string; file: FileHandle } | null = null;

  async function fileOf(path: string): Promise<FileHandle> {
    if (current?.path === path) return current.file;
    await current?.file.close();
    current = null;
    current = { path, file: await open(path, 'r') };
    return current.file;
  }

  async function readRun(path: string, offset: number, into: Uint8Array): Promise<void> {
    const file = await fileOf(path);
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
      if (bytesRead === 0) throw new CairnError('corrupt_artifact', `${path} ends at byte ${offset + done}, before the feature there`);
      done += bytesRead;
    }
  }

  return {
    /** Fills the rows of `into` (rows x dim) whose numbers are `at` with the features at their places. */
    async read(places: readonly (FeaturePlace & { at: number })[], into: Float16Array): Promise<void> {
      const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
      for (let first = 0; first < places.length; ) {
        const { path, offset, at } = places[first] as FeaturePlace & { at: number };
        let count = 1;
        for (; first + count < places.length; count += 1) {
          const next = places[first + count] as FeaturePlace & { at: number };
          if (next.path !== path || next.offset !== offset + count * rowBytes || next.at !== at + count) break;
        }
        await readRun(path, offset, bytes.subarray(at * rowBytes, (at + count) * rowBytes));
        first += count;
      }
    },
    async close(): Promise<void> {
      await current?.file.close();
      current = null;
    },
  };
}

export type EarlierRows = {
  /** The file of `planDifference`: image_number, image_id, part, row, reason. */
  path: string;
  /** The folder with the parts of the earlier set that the shard needs. Images of a part that is not there are unknown. */
  folder: string;
  /** Length of the features. */
  dim: number;
  from: number;
  count: number;
};

/** What an earlier feature set has of the images `from` to `from + count` of a list. */
export async function readEarlierRows(
  parquet: Parquet,
  { path, folder, dim, from, count }: EarlierRows,
  signal?: AbortSignal,
): Promise<Map<string, KnownRow>> {
  const sql = `select image_id, part, "row", reason from read_parquet($path)
    where image_number >= $from and image_number < $from + $count order by image_number`;
  const table = await parquet.query({ path, sql, parameters: { from, count } }, signal);
  const [parts, rows, reasons] = [table.integerOrNull('part'), table.integerOrNull('row'), table.textOrNull('reason')];
  const headers = new Map<number, NpyHeader | null>();
  const known = new Map<string, KnownRow>();
  for (const [at, imageId] of table.text('image_id').entries()) {
    const [part, row, reason] = [parts[at] ?? null, rows[at] ?? null, reasons[at] ?? null];
    if (part === null || row === null) {
      if (reason !== null) known.set(imageId, { reason });
      continue;
    }
    const file = join(folder, partFile('embeddings', part));
    if (!headers.has(part)) headers.set(part, await headerOf(file));
    const header = headers.get(part);
    if (header?.type !== 'float16' || header.dim !== dim || row >= header.rows) continue;
    known.set(imageId, { path: file, offset: header.dataOffset + row * dim * valueBytes });
  }
  return known;
}

async function headerOf(file: string): Promise<NpyHeader | null> {
  return readNpyHeader(file).catch(() => null);
}
