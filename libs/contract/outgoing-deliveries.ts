import { z } from 'zod';
import { timestamp } from './names.ts';
import { wholeNumber } from './numbers.ts';
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
