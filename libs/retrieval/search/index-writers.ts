import { writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { npyHeader } from '../features/npy.ts';
import type { PlacedVectors } from '../rerank/placed-features.ts';

export type Means = { threads: number; signal: AbortSignal | undefined; report: (rows: number) => void };

/** Vectors in memory at a time: 32 MB of 512 values. */
const BLOCK_ROWS = 16_384;

/** The vectors block by block, in the order in which they are stored. */
async function* blocksOf(vectors: PlacedVectors, { signal, report }: Means) {
  for (let first = 0; first < vectors.rows; first += BLOCK_ROWS) {
    signal?.throwIfAborted();
    const values = await vectors.read(first, BLOCK_ROWS);
    yield { values, places: vectors.places.subarray(first, first + BLOCK_ROWS) };
    report(Math.min(vectors.rows, first + BLOCK_ROWS));
  }
}

/**
 * faiss' format of an IndexFlatIP (faiss/impl/index_write.cpp): a tag, the dimension (32 bits), the number of vectors, two unused numbers,
 * whether it is trained (one byte), the metric (32 bits; 0 is the inner product), the number of values, and these as float32. Vectors are
 * written where they belong as they are read, so memory does not grow with them.
 */
export async function writeFlatIndex(path: string, vectors: PlacedVectors, means: Means): Promise<void> {
  const { dim } = vectors;
  const rows = BigInt(vectors.rowOfPlace.length);
  const header = Buffer.alloc(45);
  header.write('IxFI', 0, 'latin1');
  header.writeInt32LE(dim, 4);
  header.writeBigInt64LE(rows, 8);
  header.writeBigInt64LE(1n << 20n, 16);
  header.writeBigInt64LE(1n << 20n, 24);
  header.writeUInt8(1, 32);
  header.writeInt32LE(0, 33);
  header.writeBigUInt64LE(rows * BigInt(dim), 37);
  await writePlaced(path, vectors, { header, valueBytes: 4, encode: (values) => values }, means);
}

/** The type of a matrix's values: that of the features. */
export const writtenType = ({ readHalf }: PlacedVectors): 'float16' | 'float32' => (readHalf === undefined ? 'float32' : 'float16');

/** A matrix for NumPy, a row a place, in the type of the features. */
export async function writeMatrix(path: string, vectors: PlacedVectors, means: Means): Promise<void> {
  const type = writtenType(vectors);
  const header = npyHeader({ rows: vectors.rowOfPlace.length, dim: vectors.dim, type });
  // The features were float16, so none of them changes.
  const form: Form =
    type === 'float16'
      ? { header, valueBytes: 2, encode: (values) => new Float16Array(values) }
      : { header, valueBytes: 4, encode: (values) => values };
  await writePlaced(path, vectors, form, means);
}

type Form = { header: Buffer; valueBytes: number; encode: (values: Float32Array<ArrayBuffer>) => Float32Array | Float16Array };

/** A header, and the vectors in the order of their places: each is written where it belongs as it is read. */
async function writePlaced(path: string, vectors: PlacedVectors, { header, valueBytes, encode }: Form, means: Means): Promise<void> {
  const rowBytes = vectors.dim * valueBytes;
  const file = await open(path, 'w');
  try {
    writeAll(file.fd, header, 0);
    for await (const { values, places } of blocksOf(vectors, means)) {
      const { buffer, byteOffset, byteLength } = encode(values);
      const bytes = new Uint8Array(buffer, byteOffset, byteLength);
      for (let row = 0; row < places.length; ) {
        const place = places[row] as number;
        let next = row + 1;
        while (next < places.length && places[next] === place + next - row) next += 1;
        writeAll(file.fd, bytes.subarray(row * rowBytes, next * rowBytes), header.length + place * rowBytes);
        row = next;
      }
    }
  } finally {
    await file.close();
  }
}

/** Synchronous: a vector of its own, where features lie in another order, is then written in microseconds. */
function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, position + done);
}

/** usearch builds its graph in memory: 2 bytes a value and about 200 for the links of each vector. A key is a place. */
export async function writeGraphIndex(path: string, vectors: PlacedVectors, means: Means): Promise<void> {
  // By require: its module for `import` finds its library by the file of a stack frame, which is not always its own.
  const { Index, MetricKind, ScalarKind }: typeof import('usearch') = createRequire(import.meta.url)('usearch');
  const index = new Index(vectors.dim, MetricKind.IP, ScalarKind.F16);
  for await (const { values, places } of blocksOf(vectors, means)) {
    index.add(BigUint64Array.from(places, BigInt), values, means.threads);
  }
  index.save(path);
}
