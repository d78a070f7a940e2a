import { distance } from 'fastest-levenshtein';

/** The known name that `wrong` was most likely meant to be; null when none is close. */
export function nearestName(wrong: string, known: readonly string[]): string | null {
  const limit = Math.max(2, Math.floor(wrong.length / 3));
  const near = known
    .map((name) => ({ name, edits: distance(wrong.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, edits }) => edits <= limit || (wrong.length >= 3 && name.toLowerCase().startsWith(wrong.toLowerCase())))
    .toSorted((a, b) => a.edits - b.edits);
  return near[0]?.name ?? null;
}

/** The end of a message about an unknown name: a question about the nearest one, or nothing. */
export function didYouMean(nearest: string | null): string {
  return nearest === null ? '' : `; did you mean "${nearest}"?`;
}
