import { createHmac } from 'node:crypto';
import { call, faultOf, pauseOf } from './call.ts';
import type { Try } from './outcome.ts';

export type SignedMessage = { url: string; messageId: string; body: string; secrets: readonly string[] };

/**
 * The headers of Standard Webhooks: a signature for each secret that is valid now.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
function signatureHeaders({ messageId, body, secrets }: Omit<SignedMessage, 'url'>, now: Date): Record<string, string> {
  const timestamp = String(Math.floor(now.getTime() / 1000));
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
    return `v1,${createHmac('sha256', key).update(`${messageId}.${timestamp}.${body}`).digest('base64')}`;
  });
  return { 'webhook-id': messageId, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}

/** Sends a message. Any 2xx means that it was taken, 410 that the receiver wants no more of it; the rest is tried again. */
export async function sendWebhook(message: SignedMessage, now: Date, signal: AbortSignal): Promise<Try> {
  const headers = { 'content-type': 'application/json', ...signatureHeaders(message, now) };
  const answer = await call({ method: 'POST', url: message.url, headers, body: message.body }, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    return faultOf(error);
  });
  if (typeof answer === 'string') return { end: 'later', status: null, message: answer, until: null };
  const { status } = answer;
  if (status >= 200 && status < 300) return { end: 'done', status, message: `HTTP ${status}` };
  if (status === 410) return { end: 'refused', status, message: 'HTTP 410: the receiver is gone for good; remove the webhook' };
  const why =
    status >= 300 && status < 400 ? `HTTP ${status}: redirects are not followed; add the webhook with its new address` : `HTTP ${status}`;
  return { end: 'later', status, message: why, until: pauseOf(answer, now) };
}
