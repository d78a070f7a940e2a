import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writingTo } from './writing-to.ts';

/**
 * Makes a file that is never seen half written: `write` gets another name beside it, which is renamed after. The folder is made
 * where it is missing. Throws `storage_full` where no space is left.
 */
export async function wholeFile(path: string, write: (unfinished: string) => Promise<void>): Promise<void> {
  const unfinished = `${path}.unfinished`;
  try {
    await writingTo(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      await write(unfinished);
      await rename(unfinished, path);
    });
  } finally {
    await rm(unfinished, { force: true });
  }
}

/** {@link wholeFile} of a text. */
export function writeWhole(path: string, text: string): Promise<void> {
  return wholeFile(path, (unfinished) => writeFile(unfinished, text));
}
