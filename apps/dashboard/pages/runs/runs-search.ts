import { runState } from '@cairn/contract';
import { z } from 'zod';

/** A list from an address, where a single value is a text; unknown values are left out. */
const many = <T extends z.ZodType>(item: T) =>
  z
    .union([z.array(z.string()), z.string().transform((value) => [value])])
    .transform((values) => {
      const known = values.flatMap((value) => {
        const parsed = item.safeParse(value);
        return parsed.success ? [parsed.data] : [];
      });
      return known.length === 0 ? undefined : known;
    })
    .optional();

/** What the address of the runs table says: a shared link shows the same table. */
export const runsSearch = z.object({ q: z.string().optional(), state: many(runState) });
