import { globSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The interpreter with the packages of docker/trainer: CAIRN_PYTHON, or one that the bootstrap keeps in the user's cache. */
export function trainerPython(): string {
  const { CAIRN_PYTHON, XDG_CACHE_HOME } = process.env;
  const found = CAIRN_PYTHON || globSync(join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'cairn/python/*/bin/python'))[0];
  if (!found) throw new Error('set CAIRN_PYTHON to a Python interpreter that has torch, or run the tests by `npm test`');
  return found;
}
