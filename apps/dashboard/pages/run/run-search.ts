import { z } from 'zod';

/** What the address of a run's page says. */
export const runSearch = z.object({ tab: z.string().optional() });
