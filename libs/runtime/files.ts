import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { CairnError } from '@cairn/contract';

/**
 * A path below a folder, built from names that another program gave: none of them may lead out of it.
 *
 * @throws CairnError `invalid_path`
 */
export function pathBelow(folder: string, ...names: string[]): string {
  const path = join(folder, ...names);
  const isBelow = resolve(path).startsWith(resolve(folder).replace(/\/?$/, sep));
  const isPlain = names.every((name) => !/[\\/\0]/.test(name) && name !== '' && name !== '.' && name !== '..');
  if (isBelow && isPlain) return path;
  throw new CairnError(
    'invalid_path',
    `${names.map((name) => JSON.stringify(name)).join(', ')} would lead out of ${folder}; nothing was written there`,
    {
      details: { remedy: 'The service sent an invalid name: check that its address is right.' },
    },
  );
}

/**
 * Creates a folder with its parents; an existing one stays. Node's own recursion reports a read-only file system as ENOENT, and does not end
 * below /proc; here the error is that of the folder that could not be created.
 */
export async function makeFolder(path: string): Promise<void> {
  const whole = resolve(path);
  try {
    await mkdir(whole);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    // Node itself checks whether the existing entry is a folder.
    if (code === 'EEXIST') return void (await mkdir(whole, { recursive: true }));
    if (code !== 'ENOENT' || dirname(whole) === whole) throw error;
    await makeFolder(dirname(whole));
    await mkdir(whole);
  }
}

/** The last bytes of a file as text, from the first whole character on; empty when the file does not exist. */
export async function tailOf(path: string, maxBytes: number): Promise<string> {
  const file = await open(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return '';
  try {
    const { size } = await file.stat();
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    // Bytes 10xxxxxx continue a character that began before the cut.
    let start = 0;
    while (length < size && start < 4 && start < bytesRead && ((buffer[start] ?? 0) & 0xc0) === 0x80) start += 1;
    return buffer.subarray(start, bytesRead).toString('utf8');
  } finally {
    await file.close();
  }
}

/**
 * JSON with sorted keys and without spaces, so that equal values have equal text (the form of RFC 8785). Keys whose
 * value is `undefined` are left out, as in JSON.stringify. A value that JSON cannot represent (NaN, Infinity, bigint, functions,
 * `undefined` in an array) throws a TypeError that names its path: a digest over `null` in its place would be wrong.
 */
export function canonicalJson(value: unknown): string {
  return write(value, '$');
}

function write(value: unknown, path: string): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`${path} is ${value}, which JSON cannot represent`);
      return JSON.stringify(value);
    case 'object':
      break;
    default:
      throw new TypeError(`${path} is of type ${typeof value}, which JSON cannot represent`);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map((item, index) => write(item, `${path}[${index}]`)).join(',')}]`;
  if ('toJSON' in value && typeof value.toJSON === 'function') return write(value.toJSON(), path);
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  // Sorted by UTF-16 code units, as RFC 8785 section 3.2.3 requires: plain comparison, not a locale's.
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${write(item, `${path}.${key}`)}`).join(',')}}`;
}

/** sha256 of the bytes, or of the text in UTF-8, as 64 hexadecimal digits. */
export function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** sha256 of the value's canonical JSON: equal values, equal digest. Throws where {@link canonicalJson} does. */
export function sha256Json(value: unknown): string {
  return sha256(canonicalJson(value));
}

/**
 * How many bytes of a file of this size to read at a time: 1 MiB, or all of a smaller file. Large buffers for small files make the garbage
 * collector run again and again, which takes longer than reading them.
 */
export const readSize = (bytes: number): number => Math.min(1 << 20, Math.max(1 << 14, bytes));

/** sha256 of the file's content, streamed. Rejects with the error of the file system, or the signal's reason. */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const { size } = await stat(path);
  await pipeline(createReadStream(path, { highWaterMark: readSize(size) }), hash, signal === undefined ? {} : { signal });
  return hash.digest('hex');
}
