import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { writingTo } from '../files/whole-file.ts';
import type { KnownRow } from './known-rows.ts';

/** Which shard of which extraction a journal is of: another one's is ignored. */
export type JournalOf = { extraction: string; part: number; dim: number };

export type ShardJournal = {
  /** Appends the features of a finished batch (imageIds.length x dim). */
  append(batch: { imageIds: readonly string[]; features: Float16Array }): Promise<void>;
  close(): Promise<void>;
};

const recordText = z.object({ imageIds: z.array(z.string()) });
const firstText = z.object({ extraction: z.string(), part: z.number().int(), dim: z.number().int() });

/** Lengths of the text and of the features, and the SHA-256 of both. */
const headBytes = 4 + 4 + 32;
const valueBytes = 2;

/**
 * The batches of a shard that is not complete, in the file `path`: what a process finished before it ended is not computed again. Each record
 * is the lengths of its text and its features, their SHA-256, the ids as JSON, and the features as float16. A record
 * that is cut or damaged ends the journal. Written without fsync: a killed process loses nothing, and after a power failure the digests tell.
 *
 * @returns the journal, and what it has so far; its features are in the file itself
 */
export async function openJournal(path: string, of: JournalOf): Promise<{ journal: ShardJournal; known: Map<string, KnownRow> }> {
  const { known, end } = await readJournal(path, of);
  let file: FileHandle | null = null;
  let position = end;

  async function write(text: unknown, features: Uint8Array): Promise<void> {
    const record = encode(text, features);
    if (file === null) {
      await mkdir(dirname(path), { recursive: true });
      file = await open(path, end === 0 ? 'w' : 'r+');
      await file.truncate(end);
    }
    await file.write(record, 0, record.length, position);
    position += record.length;
  }

  const journal: ShardJournal = {
    append({ imageIds, features }) {
      return writingTo(path, async () => {
        if (position === 0) await write(of satisfies z.infer<typeof firstText>, new Uint8Array());
        const bytes = new Uint8Array(features.buffer, features.byteOffset, features.byteLength);
        await write({ imageIds: [...imageIds] } satisfies z.infer<typeof recordText>, bytes);
      });
    },
    async close() {
      await file?.close();
      file = null;
    },
  };
  return { journal, known };
}

/**
 * What a journal has, and where its last whole record ends. A file that is missing, or of another shard, has nothing. Read record by
 * record: a shard of a million images has more than fits into a buffer.
 */
async function readJournal(path: string, of: JournalOf): Promise<{ known: Map<string, KnownRow>; end: number }> {
  const known = new Map<string, KnownRow>();
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return { known, end: 0 };
  let end = 0;
  try {
    const { size } = await file.stat();
    for (let record = await readRecord(file, 0, size); record !== null; record = await readRecord(file, end, size)) {
      if (end === 0) {
        const first = firstText.safeParse(record.text).data;
        if (first?.extraction !== of.extraction || first.part !== of.part || first.dim !== of.dim) return { known, end: 0 };
      } else {
        const batch = recordText.safeParse(record.text).data;
        if (batch === undefined || batch.imageIds.length * of.dim * valueBytes !== record.featureBytes) break;
        for (const [row, id] of batch.imageIds.entries()) known.set(id, { path, offset: record.featuresAt + row * of.dim * valueBytes });
      }
      end = record.end;
    }
    return { known, end };
  } finally {
    await file.close();
  }
}

function encode(text: unknown, features: Uint8Array): Buffer {
  const json = Buffer.from(JSON.stringify(text), 'utf8');
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(json.length, 0);
  head.writeUInt32LE(features.length, 4);
  createHash('sha256').update(json).update(features).digest().copy(head, 8);
  return Buffer.concat([head, json, features]);
}

type JournalRecord = { text: unknown; featuresAt: number; featureBytes: number; end: number };

/** A record longer than this is damaged: a batch has at most 1,024 images. */
const mostRecordBytes = 2 ** 28;

/** The record at a place of a file of `size` bytes; null for one that is cut or damaged, or cannot be read. */
async function readRecord(file: FileHandle, at: number, size: number): Promise<JournalRecord | null> {
  const head = await readAt(file, at, headBytes);
  if (head === null) return null;
  const [textBytes, featureBytes] = [head.readUInt32LE(0), head.readUInt32LE(4)];
  const textAt = at + headBytes;
  const end = textAt + textBytes + featureBytes;
  if (end > size || end - textAt > mostRecordBytes) return null;
  const body = await readAt(file, textAt, end - textAt);
  if (body === null || !createHash('sha256').update(body).digest().equals(head.subarray(8))) return null;
  return { text: JSON.parse(body.toString('utf8', 0, textBytes)), featuresAt: textAt + textBytes, featureBytes, end };
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer | null> {
  const bytes = Buffer.allocUnsafe(length);
  const read = await file.read(bytes, 0, length, at).catch(() => null);
  return read?.bytesRead === length ? bytes : null;
}
