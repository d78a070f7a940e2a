import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { fileChunks } from './file-chunks.ts';

/** Whether a file begins as gzip does, whatever it is called. */
export async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

/** The bytes of a file, those inside where it is gzip. Errors of zlib have codes such as `Z_DATA_ERROR`. */
export async function* unzippedChunks(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  if (!(await isGzip(path))) {
    yield* fileChunks(path, signal);
    return;
  }
  // An error of either ends both; who reads the last stream sees it.
  const gunzip = pipeline(fileChunks(path, signal), createGunzip({ chunkSize: 1 << 18 }), () => undefined);
  for await (const chunk of gunzip as AsyncIterable<Buffer>) yield chunk;
}

/** Whether zlib found gzip's bytes broken or cut off. */
export function isBrokenGzip(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('Z_');
}
