import { createHash } from 'node:crypto';

/** Something that CI can run or leave for another time: a test file, a scenario. */
export type Choosable = {
  name: string;
  /** Folders or files, from the repository's root, whose change makes it run. */
  touchedBy: readonly string[];
  /** About how long it takes; 1 where nobody measured. */
  seconds: number;
};

export type Choice<T extends Choosable> = {
  /** What a change touches. */
  touched: T[];
  /** Of the rest, the third whose turn it is. */
  drawn: T[];
  /** What another seed runs. */
  left: T[];
};

/** The rest runs in this many turns. */
export const turns = 3;

/**
 * What of `items` to run after a change of `changed`: all that it touches, and a third of the rest. The thirds take about the same time; three
 * seeds in a row draw everything once, and the next three cut other thirds.
 *
 * @param changed paths from the repository's root; null when nobody can tell, which touches everything
 */
export function choose<T extends Choosable>(items: readonly T[], changed: readonly string[] | null, seed: number): Choice<T> {
  const isTouched = ({ touchedBy }: T): boolean => changed === null || changed.some((path) => touchedBy.some((place) => isIn(path, place)));
  const touched = items.filter(isTouched);
  const rest = items.filter((item) => !isTouched(item));
  const third = cut(rest, Math.floor(seed / turns))[seed % turns] ?? [];
  return { touched, drawn: rest.filter((item) => third.includes(item)), left: rest.filter((item) => !third.includes(item)) };
}

/** Longest first, each to the third that has least so far; `cycle` decides among equals. */
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
