import { z } from 'zod';
import { aliasAction } from './catalogue.ts';
import { gateVerdict, judgement } from './gates.ts';
import { budgetState } from './ledger.ts';
import { idOf, safeName, timestamp, wholeNumber } from './names.ts';
import { runOrigin, runSource } from './origin.ts';
import { page, pageQuery } from './rest.ts';

// What is sent to other services: webhooks' messages and reports to code hosts.

export const outgoingDeliveryState = z.enum(['pending', 'delivered', 'failed']);
export type OutgoingDeliveryState = z.infer<typeof outgoingDeliveryState>;

/** What came of the newest try. */
export const outgoingDeliveryAnswer = z.object({
  at: timestamp,
  /** The HTTP status; null where no answer came. */
  status: z.number().int().nullable(),
  /** One sentence. It never has the receiver's words, except those of a code host. */
  message: z.string(),
});
export type OutgoingDeliveryAnswer = z.infer<typeof outgoingDeliveryAnswer>;

export const outgoingDeliveryView = z.object({
  id: z.string(),
  /** The same in every try: `webhook-id`. */
  messageId: z.uuid(),
  /** The event of a webhook; `status` or `comment` of a report. */
  event: z.string(),
  /** What it is about: a run, MODEL@ALIAS, a commit or a pull request. */
  subject: z.string(),
  state: outgoingDeliveryState,
  /** Tries so far. */
  attempts: wholeNumber,
  /** When it is tried next; null unless it is pending. */
  nextTryAt: timestamp.nullable(),
  /** When the tries end; null unless it is pending. */
  triesUntil: timestamp.nullable(),
  answer: outgoingDeliveryAnswer.nullable(),
  createdAt: timestamp,
  /** When it was delivered, or given up. */
  endedAt: timestamp.nullable(),
});
export type OutgoingDeliveryView = z.infer<typeof outgoingDeliveryView>;
export const outgoingDeliveryPage = page(outgoingDeliveryView);
export type OutgoingDeliveryPage = z.infer<typeof outgoingDeliveryPage>;
export const outgoingDeliveryListQuery = pageQuery.extend({ state: outgoingDeliveryState.optional() });
export const outgoingDeliveryId = z.string().regex(/^[0-9]{1,18}$/, 'the number of a delivery');

/**
 * The address of a service that is called: http or https, without a password in it. Whether its host may be called is the setting
 * CAIRN_DELIVERY_HOSTS.
 */
export const serviceUrl = z
  .url({ protocol: /^https?$/, error: 'expected an http or https address' })
  .max(2_000)
  .regex(/^[!-~]+$/, 'use the characters that URLs have: visible ASCII')
  .refine((text) => {
    const url = URL.parse(text);
    return url !== null && url.username === '' && url.password === '' && url.hash === '';
  }, 'leave out user name, password and fragment');

// Code hosts that get reports about runs: a commit status, and one comment a pull request.

export const codeHostProvider = z.enum(['github', 'gitlab']);
export type CodeHostProvider = z.infer<typeof codeHostProvider>;

/** A repository (`org/name`), all of an owner or group with its subgroups (`org/*`), or all (`*`). */
export const repositoryPattern = z
  .string()
  .max(300)
  .regex(/^(\*|[A-Za-z0-9_.-]+\/(\*|[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*(\/\*)?))$/, 'write org/name, org/* or *');

const token = z
  .string()
  .min(8, 'a token has at least 8 characters')
  .max(500, 'a token has at most 500 characters')
  .regex(/^[\x21-\x7e]+$/, 'a token has visible ASCII characters without spaces');

/** A key as GitHub gives it to download: an RSA key in PEM, at most 16,384 bits. */
const privateKey = z
  .string()
  .max(16_384)
  .regex(
    /^-----BEGIN (RSA )?PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (RSA )?PRIVATE KEY-----\s*$/,
    'use the private key in PEM, without a passphrase',
  );

/** A GitHub App that reports in its own name: its id or client id, and its private key. */
const githubApp = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'use the App ID or the Client ID of the app'),
  privateKey,
});

/** POST /v1/code-hosts. */
export const codeHostRequest = z
  .strictObject({
    name: safeName,
    provider: codeHostProvider,
    /** Of its API: `https://api.github.com`, `https://gitlab.example.org`. */
    url: serviceUrl,
    repositories: z.array(repositoryPattern).min(1).max(100),
    token: token.optional().describe('Of the user that reports; or `app`.'),
    app: githubApp.optional().describe('The GitHub App that reports, in place of a token.'),
  })
  .refine(({ token: given, app }) => (given === undefined) !== (app === undefined), {
    path: ['token'],
    error: 'give either `token` or `app`',
  })
  .refine(({ provider, app }) => app === undefined || provider === 'github', { path: ['app'], error: 'only GitHub has apps' });
export type CodeHostRequest = z.output<typeof codeHostRequest>;
/** PUT /v1/code-hosts/:name/token: a new token, or for a GitHub App a new private key. */
export const codeHostToken = z
  .strictObject({ token: token.optional(), privateKey: privateKey.optional() })
  .refine(({ token: given, privateKey: key }) => (given === undefined) !== (key === undefined), {
    path: ['token'],
    error: 'give either `token` or `privateKey`',
  });
export type CodeHostToken = z.output<typeof codeHostToken>;

export const codeHostView = z.object({
  id: idOf('codeHost'),
  name: z.string(),
  provider: codeHostProvider,
  url: z.string(),
  repositories: z.array(z.string()),
  /** The GitHub App that reports; null where it is a user with a token. */
  appId: z.string().nullable().default(null),
  createdBy: z.string(),
  createdAt: timestamp,
  pending: z.number().int(),
  failed: z.number().int(),
  newest: outgoingDeliveryView.nullable(),
});
export type CodeHostView = z.infer<typeof codeHostView>;
export const codeHostList = z.object({ items: z.array(codeHostView) });

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
