import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';

/** Bytes before the first row in written files: numpy requires a multiple of 64, and any shape fits into 128. */
const HEADER_BYTES = 128;
const MAGIC = '\x93NUMPY';
const typeName = { float16: '<f2', float32: '<f4' } as const;

export type NpyHeader = {
  type: 'float16' | 'float32';
  rows: number;
  dim: number;
  /** Offset of the first row in bytes. */
  dataOffset: number;
};

export type NpyWriter = {
  /** Appends rows; the length is a multiple of `dim`. */
  append(rows: Float16Array): Promise<void>;
  /** Writes the header, now that the number of rows is known, and closes the file. */
  finish(): Promise<{ rows: number }>;
  /** Closes the file without a header. A no-op after `finish`. */
  close(): Promise<void>;
};

/**
 * Writes a matrix of float16 (rows x `dim`, C order) as numpy's format 1.0, row by row: memory does not grow with the file
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
 */
export async function createNpy(path: string, dim: number): Promise<NpyWriter> {
  const file = await open(path, 'w');
  let rows = 0;
  let isClosed = false;

  async function close(): Promise<void> {
    if (isClosed) return;
    isClosed = true;
    await file.close();
  }

  return {
    async append(values) {
      if (values.length % dim !== 0) throw new CairnError('internal', `${values.length} values are not rows of ${dim} for ${path}`);
      await writeAll(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), HEADER_BYTES + rows * dim * 2);
      rows += values.length / dim;
    },
    async finish() {
      await writeAll(file, npyHeader({ rows, dim, type: 'float16' }), 0);
      await close();
      return { rows };
    },
    close,
  };
}

/** Reads and checks the header of a matrix of float16 or float32. Throws `corrupt_artifact` for any other file. */
export async function readNpyHeader(path: string): Promise<NpyHeader> {
  const corrupt = (what: string, cause?: unknown) => new CairnError('corrupt_artifact', `${path} ${what}`, { cause });
  let file: FileHandle;
  try {
    // Without O_NONBLOCK the open of a pipe waits for a writer, and nothing could end it.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw corrupt('cannot be opened', cause);
  }
  try {
    if (!(await file.stat()).isFile()) throw corrupt('is not a file');
    const start = Buffer.alloc(4096);
    const { bytesRead } = await file.read(start, 0, start.length, 0);
    if (bytesRead < 12 || start.toString('latin1', 0, 6) !== MAGIC) throw corrupt('is not an .npy file');
    // Version 1 has a 16-bit length of the header, later ones a 32-bit length.
    const isFirst = start.readUInt8(6) === 1;
    const textOffset = isFirst ? 10 : 12;
    const dataOffset = textOffset + (isFirst ? start.readUInt16LE(8) : start.readUInt32LE(8));
    if (dataOffset > bytesRead) throw corrupt(`has a header of ${dataOffset} bytes, but only ${bytesRead} bytes`);
    const text = start.toString('latin1', textOffset, dataOffset);
    const type = /'descr': *'<f([24])'/.exec(text)?.[1];
    const shape = /'shape': *\((\d+), *(\d+)\)/.exec(text);
    if (type === undefined || shape === null || !/'fortran_order': *False/.test(text)) {
      throw corrupt(`is not a matrix of float16 or float32 in C order, little-endian: ${text.trim()}`);
    }
    const header = { rows: Number(shape[1]), dim: Number(shape[2]), dataOffset };
    if (header.dim === 0) throw corrupt('has vectors without values');
    const expected = dataOffset + header.rows * header.dim * Number(type);
    const { size } = await file.stat();
    if (size !== expected) throw corrupt(`has ${size} bytes instead of the ${expected} of ${header.rows} x ${header.dim} values`);
    return { ...header, type: type === '2' ? 'float16' : 'float32' };
  } finally {
    await file.close();
  }
}

/** Fills `into` with the rows from `firstRow` on, as float32; its length sets their number. */
export async function readNpyRows(path: string, header: NpyHeader, firstRow: number, into: Float32Array): Promise<void> {
  const width = header.type === 'float16' ? 2 : 4;
  const bytes = Buffer.allocUnsafeSlow(into.length * width);
  await readBytes(path, header, firstRow, bytes);
  if (header.type === 'float32') into.set(new Float32Array(bytes.buffer, bytes.byteOffset, into.length));
  else widen(new Uint16Array(bytes.buffer, bytes.byteOffset, into.length), into);
}

/** Fills `into` with the bits of rows of float16. */
export async function readNpyHalf(path: string, header: NpyHeader, firstRow: number, into: Uint16Array): Promise<void> {
  if (header.type !== 'float16') throw new CairnError('internal', `${path} is a matrix of ${header.type}, not float16`);
  await readBytes(path, header, firstRow, Buffer.from(into.buffer, into.byteOffset, into.byteLength));
}

async function readBytes(path: string, header: NpyHeader, firstRow: number, bytes: Buffer): Promise<void> {
  const rowBytes = header.dim * (header.type === 'float16' ? 2 : 4);
  const file = await open(path, 'r');
  try {
    const position = header.dataOffset + firstRow * rowBytes;
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
      if (bytesRead === 0) throw new CairnError('corrupt_artifact', `${path} ends before row ${firstRow + bytes.length / rowBytes}`);
      done += bytesRead;
    }
  } finally {
    await file.close();
  }
}

/** The header of a matrix in C order, version 1.0: {@link HEADER_BYTES} long, so the first row is where memory maps want it. */
export function npyHeader({ rows, dim, type }: Pick<NpyHeader, 'rows' | 'dim' | 'type'>): Buffer {
  const text = `{'descr': '${typeName[type]}', 'fortran_order': False, 'shape': (${rows}, ${dim}), }`;
  const header = Buffer.alloc(HEADER_BYTES, ' ');
  header.write(MAGIC, 0, 'latin1');
  header.writeUInt8(1, 6);
  header.writeUInt8(0, 7);
  header.writeUInt16LE(HEADER_BYTES - 10, 8);
  header.write(text, 10, 'latin1');
  header.write('\n', HEADER_BYTES - 1, 'latin1');
  return header;
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** The value of every float16, by its bits: a table lookup is three times as fast as converting a Float16Array. */
export const valueOfHalf = new Float32Array(new Float16Array(Uint16Array.from({ length: 0x10000 }, (_, bits) => bits).buffer));

function widen(bits: Uint16Array, into: Float32Array): void {
  for (let index = 0; index < into.length; index++) into[index] = valueOfHalf[bits[index] as number] as number;
}
