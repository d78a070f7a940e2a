import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { canonicalJson } from './canonical-json.ts';

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
