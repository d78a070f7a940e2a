import type { RunListItem } from '@cairn/contract';
import { useState } from 'react';

/**
 * The rows to show. While the table is held, because the pointer or the focus is in it, an update changes what the rows say, but neither
 * their order nor which they are: nothing moves under the hand. `moved` tells that there is a newer order.
 *
 * @param list names what is listed: another list is shown at once; null while `newest` is still that of the list before
 */
export function useSteadyRows(newest: readonly RunListItem[], isHeld: boolean, list: string | null) {
  const [shown, setShown] = useState<{ list: string | null; ids: readonly string[] }>({ list: null, ids: [] });
  const newestIds = newest.map(({ id }) => id);
  const isSame = shown.list === list && shown.ids.join() === newestIds.join();
  const known = new Map(newest.map((run) => [run.id, run]));
  const [last, setLast] = useState(known);
  if (list === null) return { rows: newest, moved: false };
  const mayKeep = isHeld && shown.list === list && shown.ids.length > 0;

  if (!mayKeep && !isSame) setShown({ list, ids: newestIds });
  // A row that is on another page now says what it said last.
  if (newest.some((run) => last.get(run.id) !== run)) setLast(new Map([...(mayKeep ? last : []), ...known]));
  if (!mayKeep) return { rows: newest, moved: false };
  return { rows: shown.ids.flatMap((id) => known.get(id) ?? last.get(id) ?? []), moved: !isSame };
}
