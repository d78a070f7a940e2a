import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root folder, with a trailing slash. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Node 24 as the npm package `node` brings it. */
export const node24 = join(root, 'node_modules', '.bin', 'node');

/**
 * Where Cairn keeps what can be made again: `$XDG_CACHE_HOME/cairn`, else `~/.cache/cairn`. A relative XDG_CACHE_HOME is
 * ignored, as the XDG base directory specification asks.
 * @param {NodeJS.ProcessEnv} env
 */
export function cacheFolder(env) {
  const xdg = env.XDG_CACHE_HOME;
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.cache'), 'cairn');
}

/**
 * The environment of a program that must come from the user's machine: PATH without any node_modules/.bin, which npm puts
 * first and which holds the very `node` that an install replaces.
 * @param {NodeJS.ProcessEnv} env
 * @returns {NodeJS.ProcessEnv}
 */
export function hostEnvironment(env) {
  const path = (env.PATH ?? '').split(':').filter((folder) => !folder.replace(/\/+$/, '').endsWith('node_modules/.bin'));
  return { ...env, PATH: path.join(':') };
}
