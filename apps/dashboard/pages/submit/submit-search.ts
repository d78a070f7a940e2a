import { idOf } from '@cairn/contract';
import { z } from 'zod';

/** Most changed settings that an address holds; a recipe with more of them is kept in the page alone. */
export const maxAssignments = 60;

const optional = <T extends z.ZodType>(value: T) => value.optional().catch(undefined);
const texts = (most: number) =>
  optional(
    z
      .union([z.array(z.string()), z.string().transform((value) => [value])])
      .transform((values) => values.slice(0, most))
      .pipe(z.array(z.string().max(2_000))),
  );

/** Of the table, where it does not show all settings: those that are changed, or those that change the result. */
export const shownSettings = ['changed', 'result'] as const;

/** What the address of the submit page says: a link to it opens the same submission. */
export const submitSearch = z.object({
  /** The name of a built-in recipe, or the run whose recipe is the beginning. */
  recipe: optional(z.string().max(63)),
  from: optional(idOf('run')),
  /** Of the run `from`, the stage that trains on from its own checkpoint, unless `set` says what is changed. */
  trainOn: optional(z.string().max(130)),
  /** Changed settings as `cairn submit --set` takes them: `stages.384.epochs=2`. */
  set: texts(maxAssignments),
  dataset: optional(z.string().max(100)),
  /** The wanted steps, separated by commas; empty for all of them. */
  until: optional(z.string().max(2_000)),
  /** Steps that run although their result exists. */
  noReuse: texts(100),
  priority: optional(z.coerce.number().int().min(-100).max(100)),
  /** The searched text of the table, and which settings it shows if not all. */
  q: optional(z.string().max(200)),
  shows: optional(z.enum(shownSettings)),
});
export type SubmitSearch = z.infer<typeof submitSearch>;
