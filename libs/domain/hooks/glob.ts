/**
 * Whether a path matches a pattern: `*` is any characters but a slash, `**` as a whole part any folders (also none), `?` one character but a
 * slash; everything else is itself. The time is bounded by the product of the lengths: names come from outside, and a regular expression of
 * a pattern such as `*a*a*a*` could take forever on a long one.
 */
export function matchesGlob(path: string, pattern: string): boolean {
  return matches(path.split('/'), pattern.split('/'), {
    isAny: (part) => part === '**',
    isEqual: (part, given) =>
      matches([...given], [...part], { isAny: (mark) => mark === '*', isEqual: (mark, letter) => mark === '?' || mark === letter }),
  });
}

/** Whether a list of patterns allows a path; the last one that matches decides, and one that begins with `!` takes it out again. */
export function isAllowedBy(patterns: readonly string[], path: string): boolean {
  const last = patterns.findLast((pattern) => matchesGlob(path, pattern.replace(/^!/, '')));
  if (last !== undefined) return !last.startsWith('!');
  // Only exceptions: they are taken from everything.
  return patterns.every((pattern) => pattern.startsWith('!'));
}

type Rules = { isAny(mark: string): boolean; isEqual(mark: string, item: string): boolean };

/** Greedy, with a way back to the newest wildcard only: an earlier one need never take more. */
function matches(items: readonly string[], marks: readonly string[], { isAny, isEqual }: Rules): boolean {
  let mark = 0;
  let wildcard = -1;
  let taken = 0;
  for (let item = 0; item < items.length; ) {
    const next = marks[mark];
    if (next !== undefined && isAny(next)) {
      wildcard = mark;
      taken = item;
      mark += 1;
    } else if (next !== undefined && isEqual(next, items[item] ?? '')) {
      item += 1;
      mark += 1;
    } else if (wildcard >= 0) {
      taken += 1;
      item = taken;
      mark = wildcard + 1;
    } else {
      return false;
    }
  }
  return marks.slice(mark).every(isAny);
}
