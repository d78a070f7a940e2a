import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/**
 * Makes a folder with those above it; one that is there stays. Node's own recursion tells a read-only file system as ENOENT, and does not end
 * below /proc; here the error is that of the folder that could not be made.
 */
export async function makeFolder(path: string): Promise<void> {
  const whole = resolve(path);
  try {
    await mkdir(whole);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    // Node looks itself at whether what is there is a folder.
    if (code === 'EEXIST') return void (await mkdir(whole, { recursive: true }));
    if (code !== 'ENOENT' || dirname(whole) === whole) throw error;
    await makeFolder(dirname(whole));
    await mkdir(whole);
  }
}
