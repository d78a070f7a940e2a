import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** The bytes of a file, one MiB at a time. Throws the signal's reason when it fires. */
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
 * Passes the bytes of a file to `use`, up to one MiB at a time, and returns their number. The buffer is reused, to avoid garbage
 * collection: `use` must not keep it.
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

/** {@link eachChunk} of an open file, from its start; awaits `use`. */
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
