import { z } from 'zod';
import { idOf, timestamp } from './names.ts';
import { deliveryView } from './triggers.ts';

/** What an item of GET /v1/attention is about. */
export const attentionKind = z.enum([
  /** No controller is running, so nothing is started. */
  'no-leader',
  /** A run is held: an admin can release it. */
  'held-run',
  /** A delivery to a trigger, such as a pull request from a fork, waits for a person who releases it. */
  'held-delivery',
  /** A budget is spent, or the share to warn at is reached. */
  'budget',
  /** A run failed in the last week. */
  'failed-run',
  /** A step of a live run has waited for room or for the cluster for a long time. */
  'waiting-step',
  /** A live attempt runs, and something is wrong around it: its node does not answer, a GPU is unhealthy, it is silent. */
  'sick-attempt',
  /** Attempts failed on a node on account of the machine. */
  'sick-node',
]);
export type AttentionKind = z.infer<typeof attentionKind>;

export const attentionItem = z.object({
  kind: attentionKind,
  /** Of the thing: a run, a delivery, a step, an attempt, the name of a node or of a budget, or of the leader's lease. */
  id: z.string(),
  /** What happened to which thing, and what to do where that is known. */
  sentence: z.string(),
  since: timestamp,
  run: z.object({ id: idOf('run'), name: z.string() }).nullable(),
  step: z.string().nullable(),
  attemptId: idOf('attempt').nullable(),
  /** Of a held delivery: its trigger, and what to look at before it is released. */
  delivery: deliveryView.pick({ subject: true, reason: true, source: true }).extend({ trigger: z.string() }).optional(),
});
export type AttentionItem = z.infer<typeof attentionItem>;

/** At most 50 of each kind, the newest first; `total` counts them all. */
export const attentionView = z.object({ items: z.array(attentionItem), total: z.number().int() });
export type AttentionView = z.infer<typeof attentionView>;
