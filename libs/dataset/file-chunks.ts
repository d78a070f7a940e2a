import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';

/** The bytes of a file, a mebibyte at a time. Once the signal fires it ends with the signal's reason. */
export async function* fileChunks(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  signal?.throwIfAborted();
  const stream = createReadStream(path, { highWaterMark: 1 << 20, ...(signal ? { signal } : {}) });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    stream.destroy();
  }
}

/**
 * Gives `use` the bytes of a file, up to a mebibyte at a time, and returns how many there were. The chunk's memory is used again, since a
 * buffer for each would keep the garbage collector busy: `use` may not hold on to it.
 */
export async function eachChunk(path: string, use: (chunk: Buffer) => void, signal?: AbortSignal): Promise<number> {
  signal?.throwIfAborted();
  const file = await open(path);
  try {
    const buffer = Buffer.allocUnsafeSlow(1 << 20);
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      signal?.throwIfAborted();
      if (bytesRead === 0) return bytes;
      use(buffer.subarray(0, bytesRead));
      bytes += bytesRead;
    }
  } finally {
    await file.close();
  }
}
