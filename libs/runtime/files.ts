import { mkdir, open } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
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
