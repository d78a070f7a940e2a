import { z } from 'zod';
import { idOf, safeName, timestamp } from './names.ts';
import { page } from './rest.ts';
import { tokenRole } from './states.ts';

// The installation: tokens, the fleet, the audit.

export const tokenRequest = z.strictObject({ name: safeName, role: tokenRole, expiresInDays: z.number().positive().max(3650).optional() });
export const tokenView = z.object({
  id: idOf('token'),
  name: z.string(),
  role: tokenRole,
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  lastUsedAt: timestamp.nullable(),
});
/** The secret is shown once, when the token is created. */
export const tokenCreated = tokenView.extend({ secret: z.string() });
export const tokenList = z.object({ items: z.array(tokenView) });

/** What the machines of a pool can hold now. */
export const poolRoom = z.object({
  /** Attempts that could start. */
  fits: z.number().int(),
  /** Ended attempts that still hold their slots, which become free in a moment. */
  leaving: z.number().int(),
  /** For people, one per machine: `node a: 3 of 8 GPUs free`. */
  sentences: z.array(z.string()),
});
export type PoolRoom = z.infer<typeof poolRoom>;

export const fleetView = z.object({
  leader: z.object({ holder: z.string(), epoch: z.number().int(), expiresAt: timestamp }).nullable(),
  pools: z.array(
    z.object({
      name: z.string(),
      executor: z.string(),
      slots: z.number().int(),
      busy: z.number().int(),
      waiting: z.number().int(),
      /** As the leader last saw it; null for pools that have slots only. */
      room: poolRoom.omit({ leaving: true }).nullable(),
    }),
  ),
});
export type FleetView = z.infer<typeof fleetView>;

export const auditEntry = z.object({
  at: timestamp,
  actor: z.string(),
  /** Id of the token, since its name may be given to another token later; null in entries written before it was recorded. */
  tokenId: z.string().nullable().default(null),
  /** Client address; null in entries written before it was recorded. */
  address: z.string().nullable().default(null),
  action: z.string(),
  target: z.string(),
  /** The changed fields of the target, before and after; null where the target did not exist or no longer exists. */
  before: z.record(z.string(), z.unknown()).nullable().default(null),
  after: z.record(z.string(), z.unknown()).nullable().default(null),
  details: z.record(z.string(), z.unknown()),
});
export const auditPage = page(auditEntry);
