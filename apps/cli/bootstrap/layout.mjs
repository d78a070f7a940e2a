import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder, with a trailing slash. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Node 24, from the npm package `node`. */
export const node24 = join(root, 'node_modules', '.bin', 'node');

/**
 * Where Cairn keeps files that can be recreated: `$XDG_CACHE_HOME/cairn`, else `~/.cache/cairn`. A relative XDG_CACHE_HOME is
 * ignored, as the XDG base directory specification requires.
 * @param {NodeJS.ProcessEnv} env
 */
export function cacheFolder(env) {
  const xdg = env.XDG_CACHE_HOME;
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.cache'), 'cairn');
}

/**
 * The environment of a program that must come from the user's machine: PATH without any node_modules/.bin, which npm puts
 * first and which contains the very `node` that an install replaces.
 * @param {NodeJS.ProcessEnv} env
 * @returns {NodeJS.ProcessEnv}
 */
export function hostEnvironment(env) {
  const path = (env.PATH ?? '').split(':').filter((folder) => !folder.replace(/\/+$/, '').endsWith('node_modules/.bin'));
  return { ...env, PATH: path.join(':') };
}
