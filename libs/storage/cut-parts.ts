import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { untilAborted } from '@cairn/runtime';

export type Part = { number: number; content: Buffer };

export type PartedContent = {
  /** Each of `partBytes`, the last smaller; one empty part for no content. Failures of the source come out as they are. */
  parts: AsyncIterator<Part, undefined>;
  /** Of what has been read so far. */
  bytes(): number;
  /** Of the whole content; call it once, after the last part. */
  sha256(): string;
};

/**
 * Cuts a stream into parts without copying more than it must; holds no part that it has given. The signal ends the
 * waiting for the next part: a stream made of a generator that waits does not end by being destroyed.
 */
export function cutParts(source: Readable, partBytes: number, key: string, signal: AbortSignal): PartedContent {
  const hash = createHash('sha256');
  let bytes = 0;

  async function* cut(): AsyncGenerator<Part, undefined> {
    let number = 1;
    let pieces: Buffer[] = [];
    let length = 0;
    const next = () => {
      const content = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces, length);
      const part = { number, content };
      [number, pieces, length] = [number + 1, [], 0];
      return part;
    };
    for await (const chunk of source) {
      let rest = bytesOf(chunk, key);
      hash.update(rest);
      bytes += rest.length;
      while (rest.length > 0) {
        const piece = rest.subarray(0, partBytes - length);
        pieces.push(piece);
        length += piece.length;
        rest = rest.subarray(piece.length);
        if (length === partBytes) yield next();
      }
    }
    if (length > 0 || number === 1) yield next();
    return undefined;
  }

  const all = cut();
  return { parts: { next: () => untilAborted(all.next(), signal) }, bytes: () => bytes, sha256: () => hash.digest('hex') };
}

function bytesOf(chunk: unknown, key: string): Buffer {
  if (typeof chunk === 'string') return Buffer.from(chunk);
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError(`the stream to be stored as ${key} is not one of bytes`);
}
