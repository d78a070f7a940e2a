import { open } from 'node:fs/promises';

/** The last bytes of a file as text, from the first whole character on; empty when there is no file. */
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
    // Bytes 10xxxxxx go on a character that began before the cut.
    let start = 0;
    while (length < size && start < 4 && start < bytesRead && ((buffer[start] ?? 0) & 0xc0) === 0x80) start += 1;
    return buffer.subarray(start, bytesRead).toString('utf8');
  } finally {
    await file.close();
  }
}
