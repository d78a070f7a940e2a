import { CairnError, writtenText } from '@cairn/contract';
import { z } from 'zod';

/** The arguments of one page of a collection. */
export type PageArgs = { limit: number; cursor?: string | undefined };
export type Page<T> = { items: T[]; nextCursor: string | null };

/** Opaque to callers: the sort key of the last item of a page. */
export function encodeCursor(key: readonly (string | number | null)[]): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url');
}

/**
 * The sort key that a cursor carries, or null without a cursor.
 *
 * @throws CairnError `invalid_request` when it is not a cursor of this collection
 */
export function decodeCursor<T extends z.ZodType>(cursor: string | undefined, key: T): z.infer<T> | null {
  if (cursor === undefined) return null;
  const parsed = key.safeParse(jsonOrNull(Buffer.from(cursor, 'base64url').toString('utf8')));
  if (parsed.success) return parsed.data;
  throw new CairnError('invalid_request', 'Invalid cursor: pass `nextCursor` of the previous page unchanged', {
    details: { errors: [{ path: 'cursor', message: 'invalid cursor' }] },
  });
}

/** An id or a name in a sort key. */
export const keyText = writtenText(100);

/** Sort key of collections that are listed newest first: times of this service, none before 1970. */
export const newestFirstKey = z.tuple([
  z.iso
    .datetime()
    .max(64)
    .transform((text) => new Date(text))
    .pipe(z.date().min(new Date(0))),
  keyText,
]);

/** Removes the extra row that was fetched to learn whether another page follows. */
export function pageOf<Row, T>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => readonly (string | number)[],
  viewOf: (row: Row) => T,
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { items: shown.map(viewOf), nextCursor: rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : null };
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
