import { z } from 'zod';
import { aliasAction } from './catalogue.ts';
import { gateVerdict, judgement } from './gates.ts';
import { budgetState } from './ledger.ts';
import { idOf, safeName, timestamp } from './names.ts';
import { runOrigin, runSource } from './origin.ts';
import { outgoingDeliveryView, serviceUrl } from './outgoing-deliveries.ts';

// Outgoing webhooks, by Standard Webhooks (https://www.standardwebhooks.com).

const runFacts = z.object({
  ...{ id: idOf('run'), name: z.string(), recipe: z.string(), dataset: z.string(), owner: z.string() },
  ...{ origin: runOrigin, source: z.object(runSource.shape).nullable() },
});

/** The data of each event. Fields may be added to these; a change that receivers could not ignore raises {@link webhookVersion}. */
const webhookData = {
  /** A run has ended. After a retry it ends again. */
  'run.ended': z.object({
    run: runFacts,
    state: z.enum(['succeeded', 'failed', 'cancelled']),
    cause: z.string().nullable(),
    finishedAt: timestamp,
  }),
  /** A quality gate has decided about a run. Shares are from 0 to 1. */
  'gate.judged': judgement
    .pick({
      gate: true,
      reason: true,
      queries: true,
      value: true,
      baselineValue: true,
      difference: true,
      low: true,
      high: true,
      baseline: true,
    })
    .extend({ run: runFacts, verdict: gateVerdict, judgedBy: z.string() }),
  /** An alias names another version; null: none. */
  'alias.moved': z.object({
    model: z.string(),
    alias: z.string(),
    action: aliasAction,
    fromVersion: z.number().int().nullable(),
    toVersion: z.number().int().nullable(),
    reason: z.string(),
    movedBy: z.string(),
  }),
  /** A budget has reached the share at which it warns, or is spent: then new runs are held. Once in each of its periods. */
  'budget.reached': z.object({
    scope: z.string(),
    state: budgetState.exclude(['open']),
    usedHours: z.number(),
    gpuHours: z.number(),
    warnPercent: z.number(),
    /** The newest run that counts towards it. */
    run: runFacts,
  }),
  /** An admin tries the webhook. */
  'webhook.test': z.object({ webhook: z.string(), requestedBy: z.string() }),
} as const;

export type WebhookEvent = keyof typeof webhookData;
export type WebhookData = { [Event in WebhookEvent]: z.output<(typeof webhookData)[Event]> };

/** Every webhook gets `webhook.test` when it is asked for; nobody subscribes to it. */
export const webhookEvent = z.enum(
  Object.keys(webhookData).filter((name) => name !== 'webhook.test') as [
    Exclude<WebhookEvent, 'webhook.test'>,
    ...Exclude<WebhookEvent, 'webhook.test'>[],
  ],
);

export const webhookVersion = 1;

const messageOf = <Event extends WebhookEvent>(type: Event) =>
  z.object({ type: z.literal(type), version: z.literal(webhookVersion), timestamp, data: webhookData[type] });

/** The body of a webhook's request. */
export const webhookMessage = z.discriminatedUnion('type', [
  messageOf('run.ended'),
  messageOf('gate.judged'),
  messageOf('alias.moved'),
  messageOf('budget.reached'),
  messageOf('webhook.test'),
]);
export type WebhookMessage = z.infer<typeof webhookMessage>;

/** POST /v1/webhooks. */
export const webhookRequest = z.strictObject({
  name: safeName,
  url: serviceUrl,
  events: z
    .array(webhookEvent)
    .min(1)
    .max(webhookEvent.options.length)
    .refine((events) => new Set(events).size === events.length, 'name each event once'),
});
export type WebhookRequest = z.output<typeof webhookRequest>;
export const webhookView = z.object({
  id: idOf('webhook'),
  name: z.string(),
  url: z.string(),
  events: z.array(z.string()),
  createdBy: z.string(),
  createdAt: timestamp,
  /** Until then the secret before the last rotation signs too. */
  previousSecretUntil: timestamp.nullable(),
  /** Deliveries that wait, and those that were given up and are still in the log. */
  pending: z.number().int(),
  failed: z.number().int(),
  newest: outgoingDeliveryView.nullable(),
});
export type WebhookView = z.infer<typeof webhookView>;
export const webhookList = z.object({ items: z.array(webhookView) });
/** The secret is shown once: when the webhook is added, and when its secret is rotated. */
export const webhookCreated = webhookView.extend({ secret: z.string() });
