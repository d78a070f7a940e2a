import { hookProvider, onNewer, triggeredRun, triggerFilter } from '@cairn/contract';
import { z } from 'zod';

/** A trigger as deliveries need it. */
export const boundTrigger = z.object({
  id: z.string(),
  projectId: z.string(),
  name: z.string(),
  provider: hookProvider,
  run: triggeredRun,
  filter: triggerFilter,
  groupTemplate: z.string().nullable(),
  onNewer,
});
export type BoundTrigger = z.infer<typeof boundTrigger>;

/** Throws for a caller who may not change a trigger of this owner. */
export type MayManage = (trigger: { name: string; owner: string }) => void;

/** A delivery whose signature is right. */
export type SignedDelivery = {
  /** The sender's id of it. */
  key: string;
  /** Where the signature covers the body alone, its digest: another id with the same body is the same delivery. */
  replayKey: string | null;
  digest: string;
  /** The provider's name of the event; null where the body has it. */
  eventName: string | null;
  body: unknown;
  address: string;
};

export type RefusedDelivery = Pick<SignedDelivery, 'digest' | 'address' | 'eventName'> & { reason: string };
