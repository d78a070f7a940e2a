import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** The bytes of a file, a mebibyte at a time. Once the signal fires it ends with the signal's reason. */
export async function* fileChunks(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  signal?.throwIfAborted();
  const stream = createReadStream(path, { highWaterMark: chunkBytes, ...(signal ? { signal } : {}) });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    stream.destroy();
  }
}

const chunkBytes = 1 << 20;

/**
 * Gives `use` the bytes of a file, up to a mebibyte at a time, and returns how many there were. The chunk's memory is used again, since a
 * buffer for each would keep the garbage collector busy: `use` may not hold on to it.
 */
export async function eachChunk(path: string, use: (chunk: Buffer) => void, signal?: AbortSignal): Promise<number> {
  signal?.throwIfAborted();
  const file = await open(path);
  try {
    return await eachChunkOf(file, use, signal);
  } finally {
    await file.close();
  }
}

/** {@link eachChunk} of a file that is open, from its start; a promise of `use` is waited for. */
export async function eachChunkOf(file: FileHandle, use: (chunk: Buffer) => Promise<void> | void, signal?: AbortSignal): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(chunkBytes);
  let bytes = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes);
    signal?.throwIfAborted();
    if (bytesRead === 0) return bytes;
    bytes += bytesRead;
    await use(buffer.subarray(0, bytesRead));
  }
}
