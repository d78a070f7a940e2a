import { globSync } from 'node:fs';
import { glob, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where to look for the programs that Python packages contain. */
export type PythonPlace = {
  /** A Python interpreter: only its environment is searched. */
  python: string | undefined;
  /** Where the bootstrap keeps its Python environments. */
  cacheDir: string;
};

/** The first file that matches the pattern, relative to the environment; of several environments the newest that has one. */
export async function findInPython({ python, cacheDir }: PythonPlace, pattern: string): Promise<string | undefined> {
  const roots = python ? [join(python, '..', '..')] : await newestFirst(join(cacheDir, 'python', '*'));
  for (const root of roots) for await (const path of glob(join(root, pattern))) return path;
  return undefined;
}

export function nameOfPlace({ python, cacheDir }: PythonPlace): string {
  return python ? `the Python environment of CAIRN_PYTHON=${python}` : `a Python environment under ${join(cacheDir, 'python')}`;
}

async function newestFirst(pattern: string): Promise<string[]> {
  const found: { path: string; time: number }[] = [];
  for await (const path of glob(pattern)) found.push({ path, time: (await stat(path)).mtimeMs });
  return found.sort((a, b) => b.time - a.time).map(({ path }) => path);
}

/** The interpreter with the packages of docker/trainer: CAIRN_PYTHON, or one of the bootstrap's in the user's cache. */
export function trainerPython(): string {
  const { CAIRN_PYTHON, XDG_CACHE_HOME } = process.env;
  const found = CAIRN_PYTHON || globSync(join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'cairn/python/*/bin/python'))[0];
  if (!found) throw new Error('set CAIRN_PYTHON to a Python interpreter that has torch, or run the tests by `npm test`');
  return found;
}
