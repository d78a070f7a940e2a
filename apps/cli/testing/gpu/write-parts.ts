import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';

/** What one request may carry to the other machine. */
export const mostPartBytes = 60 * 1024 * 1024;

export const partsManifest = z.object({
  /** The commit that was packed. */
  commit: z.string(),
  parts: z.array(z.object({ name: z.string(), bytes: z.number().int(), sha256: z.string() })),
});
export type PartsManifest = z.infer<typeof partsManifest>;

/** Cuts a stream into files `cairn-gpu.00`, `cairn-gpu.01` ... of at most `mostBytes` in `folder`. */
export async function writeParts(
  source: AsyncIterable<Buffer>,
  folder: string,
  mostBytes = mostPartBytes,
): Promise<PartsManifest['parts']> {
  const parts: PartsManifest['parts'] = [];
  const chunks = source[Symbol.asyncIterator]();
  let left: Buffer | null = null;
  let isOver = false;
  while (!isOver) {
    const name = `cairn-gpu.${String(parts.length).padStart(2, '0')}`;
    const hash = createHash('sha256');
    let bytes = 0;
    await pipeline(
      async function* () {
        while (bytes < mostBytes) {
          if (left === null) {
            const next = await chunks.next();
            if (next.done === true) {
              isOver = true;
              return;
            }
            left = next.value;
          }
          const part: Buffer = left.subarray(0, mostBytes - bytes);
          left = part.length < left.length ? left.subarray(part.length) : null;
          bytes += part.length;
          hash.update(part);
          yield part;
        }
      },
      createWriteStream(join(folder, name)),
    );
    if (bytes > 0) parts.push({ name, bytes, sha256: hash.digest('hex') });
  }
  return parts;
}
