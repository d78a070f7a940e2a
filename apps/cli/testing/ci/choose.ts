import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Something that CI can run or leave for another time: a test file, a scenario. */
export type Choosable = {
  name: string;
  /** Folders or files, relative to the repository's root, whose change makes it run. */
  touchedBy: readonly string[];
  /** About how long it takes; 1 if unknown. */
  seconds: number;
};

export type Choice<T extends Choosable> = {
  /** What a change touches. */
  touched: T[];
  /** A third of the rest, chosen by the seed. */
  drawn: T[];
  /** What another seed runs. */
  left: T[];
};

/** The rest runs in this many turns. */
export const turns = 3;

/**
 * Which of `items` to run after a change of `changed`: everything that it touches, and a third of the rest. The thirds take about the same time;
 * three seeds in a row run everything once, and the next three make other thirds.
 *
 * @param changed paths relative to the repository's root; null when unknown, which touches everything
 */
export function choose<T extends Choosable>(items: readonly T[], changed: readonly string[] | null, seed: number): Choice<T> {
  const isTouched = ({ touchedBy }: T): boolean => changed === null || changed.some((path) => touchedBy.some((place) => isIn(path, place)));
  const touched = items.filter(isTouched);
  const rest = items.filter((item) => !isTouched(item));
  const third = cut(rest, Math.floor(seed / turns))[seed % turns] ?? [];
  return { touched, drawn: rest.filter((item) => third.includes(item)), left: rest.filter((item) => !third.includes(item)) };
}

/** Longest first, each to the third with the least time so far; `cycle` decides among equals. */
function cut<T extends Choosable>(items: readonly T[], cycle: number): T[][] {
  const thirds = Array.from({ length: turns }, (): T[] => []);
  const order = (item: T): string => createHash('sha256').update(`${cycle} ${item.name}`).digest('hex');
  const sorted = items.toSorted((a, b) => b.seconds - a.seconds || order(a).localeCompare(order(b), 'en'));
  for (const item of sorted) {
    const least = thirds.reduce((a, b) => (secondsOf(b) < secondsOf(a) ? b : a));
    least.push(item);
  }
  return thirds;
}

export const secondsOf = (items: readonly Choosable[]): number => items.reduce((sum, item) => sum + item.seconds, 0);

function isIn(path: string, place: string): boolean {
  return path === place || path.startsWith(`${place}/`);
}

/** Work that is pushed together is rarely older than this. */
const recentHours = 12;

type Change = {
  /** The commit before the change; null when it is not known. */
  base: string | null;
  /** Paths relative to the repository's root; null when unknown. */
  paths: string[] | null;
};

/**
 * What changed in the checkout `folder` since `base`: a commit given by a code host, or without one (an empty text) the last that is 12
 * hours older than HEAD. Unknown in a clone that does not reach back so far, or outside of a clone.
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

/** The output of git, or null when it fails. */
function run(folder: string, args: readonly string[]): string | null {
  const { status, stdout, error } = spawnSync('git', args, { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error) throw error;
  return status === 0 ? stdout.trim() : null;
}

const firstLine = /^\/\/ CI runs this when (.+) changes?, else one time in three; it takes about (\d+) s\.$/m;

/**
 * The test files of the cluster tier, each with the information of its first line on when CI runs it.
 * @throws Error naming a file without such a line
 */
export function clusterFiles(root: string): Choosable[] {
  const paths = globSync('{apps,libs,k8s,docker}/**/*.cluster.test.ts', { cwd: root, exclude: (path) => path.includes('node_modules') });
  return paths.sort().map((name) => {
    const [, places, seconds] = firstLine.exec(readFileSync(join(root, name), 'utf8')) ?? [];
    if (places === undefined)
      throw new Error(`${name} does not say when CI runs it. Start it with a line such as
// CI runs this when libs/executor, k8s change, else one time in three; it takes about 30 s.`);
    return { name, touchedBy: [name, ...places.split(', ')], seconds: Number(seconds) };
  });
}
