import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

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

/** sha256 of the file's content, streamed. Rejects with the error of the file system, or the signal's reason. */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, signal === undefined ? {} : { signal });
  return hash.digest('hex');
}
