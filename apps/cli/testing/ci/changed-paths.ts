import { spawnSync } from 'node:child_process';

/** Work that is pushed together is rarely older than this. */
const recentHours = 12;

export type Change = {
  /** The commit before the change; null when it is not known. */
  base: string | null;
  /** Paths from the repository's root; null when nobody can tell. */
  paths: string[] | null;
};

/**
 * What changed in the checkout `folder` since `base`: a commit, as a code host tells it, or without one (an empty text) the last that is 12
 * hours older than HEAD. In a clone that does not reach back so far, or in none, nobody can tell.
 *
 * @throws Error when `base` is given and is not a commit of this clone
 */
export function changedPaths(folder: string, base: string): Change {
  const git = (...args: string[]): string | null => run(folder, args);
  const head = git('log', '-1', '--format=%ct');
  const oldest = Number(head) - recentHours * 3600;
  const from = base === '' ? git('rev-list', '-1', `--before=${oldest}`, 'HEAD') : git('rev-parse', '--verify', `${base}^{commit}`);
  if (base !== '' && from === null)
    throw new Error(`CAIRN_CI_BASE is ${base}, which is not a commit of this clone: fetch it, or leave it out.`);
  if (head === null || from === null || from === '') return { base: null, paths: null };
  const listed = [git('diff', '--name-only', '--no-renames', from), git('ls-files', '--others', '--exclude-standard')];
  return { base: from, paths: listed.flatMap((text) => text?.split('\n') ?? []).filter((path) => path !== '') };
}

/** The number of commits up to HEAD, 0 outside a clone: a seed that another push changes. */
export const commitCount = (folder: string): number => Number(run(folder, ['rev-list', '--count', 'HEAD']));

/** What git prints, or null when it refuses. */
function run(folder: string, args: readonly string[]): string | null {
  const { status, stdout, error } = spawnSync('git', args, { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error) throw error;
  return status === 0 ? stdout.trim() : null;
}
