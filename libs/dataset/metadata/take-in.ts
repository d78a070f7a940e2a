import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { CairnError, type ListName } from '@cairn/contract';
import type { FileDigest } from '../digests.ts';
import { eachChunkOf, type FileGate } from '../file-gate.ts';
import { below } from '../folders.ts';
import { findImportedLists, importedFolder, type TakenList } from '../lists/imported-lists.ts';
import { compressionOf } from '../tars/scan-tar.ts';
import type { MetadataFileKey } from './files.ts';
import { findMetadata, readHeader, type TakenFile } from './find-metadata.ts';
import { type TakenCountries, takeInCountries } from './read-countries.ts';

/** Limits of a metadata file. GLDv2's largest has 0.5 GB and lines of 20 kB; gzip compresses such text to a fifth. */
export type MetadataLimits = {
  /** Bytes of a file, unzipped. */
  bytes: number;
  /** Bytes of a JSON file, which is read into memory. */
  jsonBytes: number;
  /** Bytes of a line of a CSV file. */
  lineBytes: number;
  /** The maximum expansion of a gzip file, after `freeBytes` of output. */
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
  /** For CSV files lines are checked, and CRLF becomes LF. */
  kind: 'csv' | 'json' | 'parquet';
  limits?: MetadataLimits;
  signal?: AbortSignal | undefined;
};

/**
 * Copies an untrusted file to `copy`, uncompressed if it is gzip, and digests its original bytes. Only the copy is read afterwards, so
 * later changes of the file have no effect.
 *
 * @throws CairnError `bad_row` with the line for a line that is too long or has a carriage return inside, corrupt or truncated gzip, and a
 * file that is too large; as {@link FileGate.open} does
 */
export async function takeIn(path: string, copy: string, options: TakeInOptions): Promise<FileDigest> {
  const { gate, kind, signal } = options;
  const of = options.limits ?? metadataLimits;
  const limits = kind === 'json' ? { ...of, bytes: of.jsonBytes } : of;
  const file = await gate.open(path);
  try {
    const { size } = await file.stat();
    if (size > limits.bytes) throw tooLarge(path, limits);
    if (kind !== 'parquet') await refuseCompressed(file, path);
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
      throw new CairnError('bad_row', `${path} is corrupt gzip${where} (${error.message}): download it again`, {
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

/** Writes a file's bytes into gunzip, which keeps references: each chunk has its own memory. */
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
  return compressionOf(await startOf(file)) === 'gzip';
}

/** Of the compressions only gzip is read. */
async function refuseCompressed(file: FileHandle, path: string): Promise<void> {
  const format = compressionOf(await startOf(file));
  if (format === null || format === 'gzip') return;
  throw new CairnError('bad_row', `${path} is a file of ${format}, not text: unpack it, or compress it with gzip`, { details: { path } });
}

async function startOf(file: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
  return buffer.subarray(0, bytesRead);
}

/** Whether zlib reported corrupt or truncated data. */
function isBrokenGzip(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('Z_');
}

async function writeAll(out: FileHandle, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await out.write(chunk, done, chunk.length - done)).bytesWritten;
}

function tooLarge(path: string, { bytes, ratio }: MetadataLimits): CairnError {
  const message = `${path} is too large: the maximum is ${bytes} bytes, and for gzip ${ratio} times its size; register the right file`;
  return new CairnError('bad_row', message, { details: { path, mostBytes: bytes, mostRatio: ratio } });
}

type LineReader = ReturnType<typeof lineReader>;

const [lineFeed, carriageReturn] = [0x0a, 0x0d];

/** Checks the lines of text in chunks, and converts CRLF to LF in place. */
function lineReader(path: string, { lineBytes }: MetadataLimits) {
  let line = 1;
  let length = 0;
  let holdsReturn = false;
  const refuse = (what: string): never => {
    throw new CairnError('bad_row', `${path}, line ${line}: ${what}; correct the line`, { details: { path, line } });
  };

  /** Removes carriage returns before line feeds; one at the end of a chunk is held back until the next. */
  const withoutReturns = (chunk: Buffer): Buffer => {
    const text = holdsReturn && chunk[0] !== lineFeed ? refuse('it has a carriage return in the middle') : chunk;
    holdsReturn = false;
    let to = text.indexOf(carriageReturn);
    if (to === -1) return text;
    for (let at = to; at < text.length; ) {
      // `at` is a carriage return.
      if (at + 1 === text.length) {
        holdsReturn = true;
        break;
      }
      if (text[at + 1] !== lineFeed) {
        // The output is before `to`.
        for (let feed = text.indexOf(lineFeed); feed !== -1 && feed < to; feed = text.indexOf(lineFeed, feed + 1)) line += 1;
        refuse('it has a carriage return in the middle');
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
    /** The current line, from 1. */
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

/** A snapshot of the metadata: private copies and their digests. */
export type TakenMetadata = {
  files: Map<MetadataFileKey, TakenFile>;
  imported: Map<ListName, TakenList>;
  countries: TakenCountries | null;
  /** By name: `train.csv` (also of train.csv.gz, whose own bytes are digested), `countries/JP.json`, `imported/lists/clean.parquet`. */
  digests: Record<string, FileDigest>;
};

export type MetadataSource = { metadata: string; countries?: string | undefined };

/**
 * Copies all files that the lists need: their CSV files, the countries if there is a folder, and the imported lists among `importable`.
 * `folder`, which must be empty, gets the copies; the caller removes it.
 *
 * @throws CairnError `missing_file` (naming the list that needs it), `missing_column`, `bad_row`, `folder_not_allowed`; the signal's reason
 */
export async function takeInMetadata(
  { metadata, countries }: MetadataSource,
  wanted: { lists: readonly ListName[]; importable: readonly ListName[]; also?: readonly MetadataFileKey[] },
  options: { folder: string; gate: FileGate; limits?: TakeInOptions['limits']; signal?: AbortSignal | undefined },
): Promise<TakenMetadata> {
  const { folder, gate, limits, signal } = options;
  const how = (kind: TakeInOptions['kind']): TakeInOptions => ({ gate, kind, signal, ...(limits ? { limits } : {}) });
  const { lists, importable, also = [] } = wanted;
  const foundLists = await findImportedLists(metadata, importable, gate);
  const made = lists.filter((list) => !foundLists.has(list));
  const found = await findMetadata(metadata, { lists: made, withCountries: countries !== undefined, also }, gate);

  const digests: TakenMetadata['digests'] = {};
  const imported: TakenMetadata['imported'] = new Map();
  for (const [list, path] of foundLists) {
    const copy = join(folder, `imported-${list}.parquet`);
    digests[`${importedFolder}/${list}.parquet`] = await takeIn(path, copy, how('parquet'));
    imported.set(list, { path, copy });
  }
  const files: TakenMetadata['files'] = new Map();
  for (const [key, file] of found) {
    const copy = join(folder, `${key}.csv`);
    digests[file.file.name] = await takeIn(file.path, copy, how('csv'));
    files.set(key, { ...file, copy, header: await readHeader(file, copy, signal) });
  }
  if (countries === undefined) return { files, imported, countries: null, digests };
  const taken = { folder: countries, copy: join(folder, 'countries') };
  await mkdir(taken.copy);
  const take = async (name: string): Promise<void> => {
    digests[`countries/${name}`] = await takeIn(
      below(countries, name),
      join(taken.copy, name),
      how(name.endsWith('.csv') ? 'csv' : 'json'),
    );
  };
  await takeInCountries(taken, take, signal);
  return { files, imported, countries: taken, digests };
}
