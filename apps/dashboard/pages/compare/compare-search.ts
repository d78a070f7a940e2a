import { idOf, maxComparedRuns } from '@cairn/contract';
import { z } from 'zod';

const optional = <T extends z.ZodType>(value: T) => value.optional().catch(undefined);
const runId = idOf('run');

/** What the address of a comparison says. The first run is the one that the others are compared with. */
export const compareSearch = z.object({
  runs: optional(
    z
      .union([z.array(z.string()), z.string().transform((value) => value.split(','))])
      .transform((ids) => [...new Set(ids)].filter((id) => runId.safeParse(id).success).slice(0, maxComparedRuns)),
  ),
  /** The stage whose curves are drawn. */
  stage: optional(z.string().max(100)),
  x: optional(z.enum(['step', 'time'])),
  scale: optional(z.enum(['linear', 'log'])),
  smoothing: optional(z.coerce.number().min(0).max(0.99)),
});
export type CompareSearch = z.infer<typeof compareSearch>;
