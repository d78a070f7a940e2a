import { z } from 'zod';

/** What the workers of a simulation do. */
export const playJob = z.object({
  internalUrl: z.string(),
  storageUrl: z.string(),
  serverKey: z.string(),
  /** Gets the files of a shard: on the volume of the storage, which gets links of them. */
  folder: z.string(),
  ids: z.number().int(),
  shards: z.number().int(),
  dim: z.number().int(),
  attempts: z.array(z.string()),
  perMinute: z.number(),
  /** Shards that are committed at that rate; the others follow without a limit. */
  paced: z.number().int(),
  reportSeconds: z.number(),
});
export type PlayJob = z.infer<typeof playJob>;

const phase = z.object({
  /** Committed, and given up because the lease was lost. */
  shards: z.number().int(),
  lost: z.number().int(),
  seconds: z.number(),
  claims: z.array(z.number()),
  commits: z.array(z.number()),
});
/** Milliseconds of each call, at the rate of the job and without a limit. */
export const played = z.object({ paced: phase, free: phase, reports: z.array(z.number()) });
export type Phase = z.infer<typeof phase>;
