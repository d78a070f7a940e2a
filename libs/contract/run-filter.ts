import { z } from 'zod';
import { runTag } from './annotations.ts';
import { labelText } from './origin.ts';
import { type RunSort, runSort } from './rest.ts';
import { runState } from './states.ts';

// A filter of runs as the address of the runs page has it: the page, saved views and the command line read the same text.

/** How old the runs may be. Relative, so that a kept filter still means the last week. */
export const runAges = {
  '1d': { label: 'Last day', days: 1 },
  '7d': { label: 'Last 7 days', days: 7 },
  '30d': { label: 'Last 30 days', days: 30 },
} as const;

/** The most values of one filter. */
const maxValues = 20;

/** A list from an address, where a single value is a text; unknown values are left out. */
export const manyInAddress = <T extends z.ZodType>(item: T, most = maxValues) =>
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

/** A value from an address; an unknown one is left out. */
export const oneInAddress = <T extends z.ZodType>(item: T) => item.optional().catch(undefined);

const name = z.string().min(1).max(63);

export const runFilter = z.object({
  q: oneInAddress(z.string().min(1).max(100)),
  state: manyInAddress(runState),
  recipe: manyInAddress(name),
  owner: manyInAddress(name),
  /** `key=value`: runs that have all of them. */
  label: manyInAddress(labelText),
  tag: manyInAddress(runTag),
  age: oneInAddress(z.enum(['1d', '7d', '30d'])),
  sort: oneInAddress(runSort),
});
export type RunFilter = z.infer<typeof runFilter>;

export const defaultRunSort: RunSort = '-createdAt';

/** The parameters of GET /v1/runs for a filter. */
export const runListParameters = ({ q, state, recipe, owner, label, tag, age, sort = defaultRunSort }: RunFilter, now: number) => ({
  ...(q === undefined ? {} : { q }),
  ...(state === undefined ? {} : { state }),
  ...(recipe === undefined ? {} : { recipe }),
  ...(owner === undefined ? {} : { owner }),
  ...(label === undefined ? {} : { label }),
  ...(tag === undefined ? {} : { tag }),
  ...(age === undefined ? {} : { createdAfter: new Date(now - runAges[age].days * 86_400_000).toISOString() }),
  sort,
});

/** The query of an address as people write it, `state=failed&state=running&q=mini`: a repeated key is a list, every value a text. */
export function addressQuery(text: string): Record<string, string | string[]> {
  const parameters = new URLSearchParams(text);
  // From entries, because a key such as `__proto__` is data too.
  return Object.fromEntries(
    [...new Set(parameters.keys())].map((key) => {
      const values = parameters.getAll(key);
      return [key, values.length === 1 ? (values[0] ?? '') : values];
    }),
  );
}
