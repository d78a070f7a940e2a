import { labelText, runSort, runState } from '@cairn/contract';
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
  'priority',
] as const;
const columnId = z.enum(columnIds);
export type ColumnId = z.infer<typeof columnId>;
export const defaultColumns: readonly ColumnId[] = ['state', 'progress', 'mapLast', 'mapBest', 'gpuHours', 'created', 'recipe', 'owner'];

/** How old the runs may be. Relative, so that a kept link still means the last week. */
export const ages = {
  '1d': { label: 'Last day', days: 1 },
  '7d': { label: 'Last 7 days', days: 7 },
  '30d': { label: 'Last 30 days', days: 30 },
} as const;

/** Most runs that can be selected: their ids are in the address. */
export const maxSelected = 50;
/** The most values that the api takes for one filter. */
const maxValues = 20;

/** A list from an address, where a single value is a text; unknown values are left out. */
const many = <T extends z.ZodType>(item: T, most = maxValues) =>
  z
    .union([z.array(z.string()), z.string().transform((value) => [value])])
    .transform((values) => {
      const known = [...new Set(values)].flatMap((value) => {
        const parsed = item.safeParse(value);
        return parsed.success ? [parsed.data] : [];
      });
      return known.length === 0 ? undefined : known.slice(0, most);
    })
    .optional();

const one = <T extends z.ZodType>(item: T) => item.optional().catch(undefined);
const name = z.string().min(1).max(63);

/** What the address of the runs table says: a link shows the same table, and Back the previous one. */
export const runsSearch = z.object({
  q: one(z.string().min(1).max(100)),
  state: many(runState),
  recipe: many(name),
  owner: many(name),
  /** `key=value`: runs that have all of them. */
  label: many(labelText),
  age: one(z.enum(['1d', '7d', '30d'])),
  sort: one(runSort),
  /** The page after this position, and its number for people. */
  cursor: one(z.string().max(200)),
  page: one(z.coerce.number().int().min(2)),
  column: many(columnId),
  selected: many(z.string().regex(/^run_[0-9a-z]{26}$/), maxSelected),
});
export type RunsSearch = z.infer<typeof runsSearch>;
/** What narrows the list. */
export const filterKeys = ['q', 'state', 'recipe', 'owner', 'label', 'age'] as const satisfies readonly (keyof RunsSearch)[];

/** Changes a part of the address: as a new entry of the history, or in place of the present one. */
export type ChangeSearch = (change: Partial<RunsSearch>, how?: 'replace') => void;
export type ChangeSelection = (update: (selected: readonly string[]) => readonly string[]) => void;
