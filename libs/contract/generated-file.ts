import { readFile, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';

/** Writes a generated file; with `--check` on the command line it only reports a difference and fails. */
export async function writeOrCheck(path: string, text: string, source: string): Promise<void> {
  if (!process.argv.includes('--check')) {
    await writeFile(path, text);
  } else if ((await readFile(path, 'utf8')) !== text) {
    console.error(`${relative(process.cwd(), path)} differs from what ${source} generates.`);
    process.exitCode = 1;
  }
}
