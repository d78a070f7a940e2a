import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { CairnError } from '@cairn/contract';
import type { FileDigest } from '../digests.ts';
import { eachChunkOf } from '../file-chunks.ts';
import type { FileGate } from '../file-gate.ts';

/** What a file of metadata may be at most. GLDv2's largest has 0.5 GB and lines of 20 kB; a gzip of such text is a fifth of it. */
export type MetadataLimits = {
  /** Bytes of a file, unzipped. */
  bytes: number;
  /** Of a file of JSON, which is read as a whole. */
  jsonBytes: number;
  /** Bytes of a line of a CSV file. */
  lineBytes: number;
  /** How many times its size a gzip file may grow, once more than `freeBytes` came out of it. */
  ratio: number;
  freeBytes: number;
};

export const metadataLimits: MetadataLimits = {
  bytes: 4 * 1024 ** 3,
  jsonBytes: 64 * 1024 ** 2,
  lineBytes: 16 * 1024 ** 2,
  ratio: 200,
  freeBytes: 64 * 1024 ** 2,
};

export type TakeInOptions = {
  gate: FileGate;
  /** Of a CSV file the lines are looked at, and CRLF becomes LF. */
  kind: 'csv' | 'json' | 'parquet';
  limits?: MetadataLimits;
  signal?: AbortSignal | undefined;
};

/**
 * Copies a file of other people to `copy`, unzipped where it is gzip, and digests its bytes as they lie. All that follows reads the copy:
 * what is used is what was digested, whatever becomes of the file meanwhile.
 *
 * @throws CairnError `bad_row` with the line for a line that is too long or has a carriage return inside, gzip that is broken or cut off, and
 *   for a file that is too large; as {@link FileGate.open} does
 */
export async function takeIn(path: string, copy: string, options: TakeInOptions): Promise<FileDigest> {
  const { gate, kind, signal } = options;
  const of = options.limits ?? metadataLimits;
  const limits = kind === 'json' ? { ...of, bytes: of.jsonBytes } : of;
  const file = await gate.open(path);
  try {
    const { size } = await file.stat();
    if (size > limits.bytes) throw tooLarge(path, limits);
    const out = await open(copy, 'wx', 0o600);
    try {
      return await copied({ path, file, out, lines: kind === 'csv' ? lineReader(path, limits) : null, limits, signal });
    } finally {
      await out.close();
    }
  } finally {
    await file.close();
  }
}

type Copying = {
  path: string;
  file: FileHandle;
  out: FileHandle;
  lines: LineReader | null;
  limits: MetadataLimits;
  signal: AbortSignal | undefined;
};

async function copied({ path, file, out, lines, limits, signal }: Copying): Promise<FileDigest> {
  const sha256 = createHash('sha256');
  let read = 0;
  let written = 0;
  const write = async (chunk: Buffer): Promise<void> => {
    written += chunk.length;
    if (written > limits.bytes || (written > limits.freeBytes && written > limits.ratio * read)) throw tooLarge(path, limits);
    await writeAll(out, lines === null ? chunk : lines.read(chunk));
  };
  const digest = (chunk: Buffer): void => {
    sha256.update(chunk);
    read += chunk.length;
  };
  if (await isGzip(file)) {
    const gunzip = createGunzip({ chunkSize: 1 << 18 });
    const broken = new AbortController();
    const fed = feed(gunzip, file, digest, signal === undefined ? broken.signal : AbortSignal.any([signal, broken.signal]));
    try {
      for await (const chunk of gunzip as AsyncIterable<Buffer>) await write(chunk);
      await fed;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isBrokenGzip(error)) throw error;
      const where = lines === null ? '' : ` in line ${lines.line()} of its text`;
      throw new CairnError('bad_row', `${path} is broken gzip${where} (${error.message}): fetch it again`, {
        details: { path, line: lines?.line() ?? 0 },
      });
    } finally {
      broken.abort();
      gunzip.destroy();
      await fed.catch(() => undefined);
    }
  } else {
    await eachChunkOf(
      file,
      async (chunk) => {
        digest(chunk);
        await write(chunk);
      },
      signal,
    );
  }
  return { sha256: sha256.digest('hex'), bytes: read };
}

/** Writes a file's bytes into gunzip, which holds on to them: each chunk has memory of its own. */
async function feed(gunzip: ReturnType<typeof createGunzip>, file: FileHandle, digest: (chunk: Buffer) => void, signal: AbortSignal) {
  try {
    await eachChunkOf(
      file,
      async (chunk) => {
        digest(chunk);
        if (!gunzip.write(Buffer.from(chunk))) await once(gunzip, 'drain', { signal });
      },
      signal,
    );
    gunzip.end();
  } catch (error) {
    gunzip.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

async function isGzip(file: FileHandle): Promise<boolean> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
  return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
}

/** Whether zlib found gzip's bytes broken or cut off. */
function isBrokenGzip(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('Z_');
}

async function writeAll(out: FileHandle, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await out.write(chunk, done, chunk.length - done)).bytesWritten;
}

function tooLarge(path: string, { bytes, ratio }: MetadataLimits): CairnError {
  const message = `${path} is too large: at most ${bytes} bytes are read, and of gzip at most ${ratio} times its size; register the right file`;
  return new CairnError('bad_row', message, { details: { path, mostBytes: bytes, mostRatio: ratio } });
}

type LineReader = ReturnType<typeof lineReader>;

const [lineFeed, carriageReturn] = [0x0a, 0x0d];

/** Watches the lines of a text that comes in chunks, and takes the carriage return off those that end in CRLF, in place. */
function lineReader(path: string, { lineBytes }: MetadataLimits) {
  let line = 1;
  let length = 0;
  let holdsReturn = false;
  const refuse = (what: string): never => {
    throw new CairnError('bad_row', `${path}, line ${line}: ${what}; correct the line`, { details: { path, line } });
  };

  /** Drops the carriage returns that a line feed follows; one at the end of the chunk is held back until the next. */
  const withoutReturns = (chunk: Buffer): Buffer => {
    const text = holdsReturn && chunk[0] !== lineFeed ? refuse('it has a carriage return that ends no line') : chunk;
    holdsReturn = false;
    let to = text.indexOf(carriageReturn);
    if (to === -1) return text;
    for (let at = to; at < text.length; ) {
      // `at` stands on a carriage return.
      if (at + 1 === text.length) {
        holdsReturn = true;
        break;
      }
      if (text[at + 1] !== lineFeed) {
        // What stands before `to` is the chunk's text so far.
        for (let feed = text.indexOf(lineFeed); feed !== -1 && feed < to; feed = text.indexOf(lineFeed, feed + 1)) line += 1;
        refuse('it has a carriage return that ends no line');
      }
      const next = text.indexOf(carriageReturn, at + 1);
      const end = next === -1 ? text.length : next;
      text.copyWithin(to, at + 1, end);
      to += end - at - 1;
      at = end;
    }
    return text.subarray(0, to);
  };

  return {
    /** The line that is being read, from 1. */
    line: () => line,
    read(chunk: Buffer): Buffer {
      if (chunk.length === 0) return chunk;
      const text = withoutReturns(chunk);
      let from = 0;
      for (let at = text.indexOf(lineFeed); at !== -1; at = text.indexOf(lineFeed, from)) {
        if (length + at - from > lineBytes) refuse(`it has more than ${lineBytes} bytes`);
        length = 0;
        from = at + 1;
        line += 1;
      }
      length += text.length - from;
      if (length > lineBytes) refuse(`it has more than ${lineBytes} bytes`);
      return text;
    },
  };
}
