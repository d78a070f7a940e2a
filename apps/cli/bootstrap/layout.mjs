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

/**
 * An error that the user can fix: `message` says what happened to which thing, `remedy` what to do, `log` is the file with the whole
 * output of the failed program, and `tail` its last lines.
 */
export class BootstrapError extends Error {
  /**
   * @param {string} message
   * @param {{ remedy: string, log?: string | undefined, tail?: string[], cause?: unknown }} particulars
   */
  constructor(message, particulars) {
    super(message, particulars.cause === undefined ? undefined : { cause: particulars.cause });
    this.name = 'BootstrapError';
    this.remedy = particulars.remedy;
    this.log = particulars.log;
    this.tail = particulars.tail ?? [];
  }
}

/**
 * The text for a terminal.
 * @param {BootstrapError} error
 */
export function describeFailure(error) {
  const lines = [`cairn: ${error.message}`];
  if (error.tail.length > 0)
    lines.push(`  Last lines${error.log === undefined ? '' : ` of ${error.log}`}:`, ...error.tail.map((line) => `    ${line}`));
  lines.push(`  What to do: ${error.remedy}`);
  return lines.join('\n');
}
