import { manyInAddress, oneInAddress, runFilter } from '@cairn/contract';
import { z } from 'zod';

/** Columns of the table, in their order; the name is always shown. */
export const columnIds = [
  'state',
  'progress',
  'mapLast',
  'mapBest',
  'gpuHours',
  'created',
  'updated',
  'recipe',
  'dataset',
  'owner',
  'labels',
  'tags',
  'note',
  'priority',
] as const;
const columnId = z.enum(columnIds);
export type ColumnId = z.infer<typeof columnId>;
export const defaultColumns: readonly ColumnId[] = ['state', 'progress', 'mapLast', 'mapBest', 'gpuHours', 'created', 'recipe', 'owner'];

/** Most runs that can be selected: their ids are in the address. */
export const maxSelected = 50;

/** What the address of the runs table says: a link shows the same table, and Back the previous one. */
export const runsSearch = runFilter.extend({
  /** The page after this position, and its number for people. */
  cursor: oneInAddress(z.string().max(200)),
  page: oneInAddress(z.coerce.number().int().min(2)),
  column: manyInAddress(columnId),
  selected: manyInAddress(z.string().regex(/^run_[0-9a-z]{26}$/), maxSelected),
});
export type RunsSearch = z.infer<typeof runsSearch>;
/** What narrows the list. */
export const filterKeys = ['q', 'state', 'recipe', 'owner', 'label', 'tag', 'age'] as const satisfies readonly (keyof RunsSearch)[];

/** Changes a part of the address: as a new entry of the history, or in place of the present one. */
export type ChangeSearch = (change: Partial<RunsSearch>, how?: 'replace') => void;
export type ChangeSelection = (update: (selected: readonly string[]) => readonly string[]) => void;
