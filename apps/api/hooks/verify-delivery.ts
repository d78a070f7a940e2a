import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { HookProvider } from '@cairn/contract';

export type Delivery = {
  provider: HookProvider;
  headers: IncomingHttpHeaders;
  /** As it arrived: the signature covers its bytes. */
  body: Buffer;
  /** The accepted ones; after a rotation the earlier one too. */
  secrets: readonly string[];
  nowMs: number;
};

/** A valid signature, with what identifies the delivery; or what is wrong, without the expected value. */
export type Verification = { key: string; replayKey: string | null; eventName: string | null } | { wrong: string; remedy?: string };

export const bodyDigest = (body: Buffer): string => createHash('sha256').update(body).digest('hex');

/** Verifies the signature of a delivery, in constant time. */
export function verifyDelivery(delivery: Delivery): Verification {
  return verifiers[delivery.provider](delivery);
}

const verifiers: Record<HookProvider, (delivery: Delivery) => Verification> = {
  github: verifyGithub,
  gitlab: verifyGitlab,
  standard: (delivery) => verifyStandard(delivery, null),
};

/**
 * The signature covers the body alone, so anyone who has seen a delivery can send it again under another id: the body's digest tells deliveries apart
 * too. https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
 */
function verifyGithub({ headers, body, secrets }: Delivery): Verification {
  const given = headerOf(headers, 'x-hub-signature-256');
  if (given === null) return { wrong: 'the header X-Hub-Signature-256 is missing: give the webhook the secret of the trigger' };
  const [, hex] = /^sha256=([0-9a-f]{64})$/.exec(given) ?? [];
  if (hex === undefined) return { wrong: 'the header X-Hub-Signature-256 is not `sha256=` and 64 hexadecimal digits' };
  const key = headerOf(headers, 'x-github-delivery');
  const eventName = headerOf(headers, 'x-github-event');
  if (key === null || eventName === null) return { wrong: 'the headers X-GitHub-Delivery and X-GitHub-Event are missing' };
  const isRight = secrets.some((secret) => isSame(createHmac('sha256', secret).update(body).digest(), Buffer.from(hex, 'hex')));
  return isRight ? { key, replayKey: bodyDigest(body), eventName } : { wrong: wrongSecret };
}

/**
 * A signing token (GitLab 19 and newer) signs as Standard Webhooks says; a secret token is sent as it is. A trigger's secret serves as either.
 * https://docs.gitlab.com/user/project/integrations/webhooks/
 */
function verifyGitlab(delivery: Delivery): Verification {
  const { headers, body, secrets } = delivery;
  const eventName = headerOf(headers, 'x-gitlab-event');
  if (eventName === null) return { wrong: 'the header X-Gitlab-Event is missing' };
  if (headers['webhook-signature'] !== undefined) return verifyStandard(delivery, eventName);
  const given = headerOf(headers, 'x-gitlab-token');
  if (given === null)
    return {
      wrong: 'the headers webhook-signature and X-Gitlab-Token are missing: give the webhook the secret of the trigger as signing token',
    };
  // Equal lengths, which the comparison needs, and which would otherwise show.
  const hash = (text: string) => createHash('sha256').update(text).digest();
  if (!secrets.some((secret) => isSame(hash(secret), hash(given)))) return { wrong: wrongSecret };
  // Versions before 17.4 give no id. The digest adds no security here, as the token does not depend on the body.
  return { key: headerOf(headers, 'idempotency-key') ?? `sha256:${bodyDigest(body)}`, replayKey: null, eventName };
}

const maxSkewSeconds = 300;
const maxSignatures = 16;

/** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: signs id, time and body. */
function verifyStandard({ headers, body, secrets, nowMs }: Delivery, eventName: string | null): Verification {
  const id = headerOf(headers, 'webhook-id');
  const time = headerOf(headers, 'webhook-timestamp');
  const given = headerOf(headers, 'webhook-signature');
  if (id === null || time === null || given === null)
    return {
      wrong: 'the headers webhook-id, webhook-timestamp and webhook-signature are needed, each of at most 1,000 visible characters',
    };
  if (!/^[0-9]{1,12}$/.test(time)) return { wrong: 'the header webhook-timestamp is not a number of seconds since 1970' };
  const signatures = given
    .split(' ')
    .slice(0, maxSignatures)
    .flatMap((part) => (part.startsWith('v1,') ? [Buffer.from(part.slice(3), 'base64')] : []));
  if (signatures.length === 0) return { wrong: 'the header webhook-signature has no signature of the version v1' };
  const isRight = secrets.some((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
    const expected = createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest();
    return signatures.some((signature) => isSame(expected, signature));
  });
  if (!isRight) return { wrong: wrongSecret };
  const skewSeconds = Math.round(nowMs / 1000 - Number(time));
  if (Math.abs(skewSeconds) > maxSkewSeconds)
    return {
      wrong: `it was signed ${Math.abs(skewSeconds)} s ${skewSeconds > 0 ? 'ago' : 'in the future'}; at most ${maxSkewSeconds} s are accepted`,
      remedy: "Set the sender's clock, and let it sign again each time that it sends.",
    };
  return { key: id, replayKey: null, eventName };
}

const wrongSecret = 'the signature does not match: the secret is another one, or the body was changed on the way';

const isSame = (expected: Buffer, given: Buffer): boolean => given.length === expected.length && timingSafeEqual(given, expected);

/** A header of visible ASCII, given once; null otherwise. */
function headerOf(headers: IncomingHttpHeaders, name: string): string | null {
  const value = headers[name];
  return typeof value === 'string' && /^[\x20-\x7e]{1,1000}$/.test(value) ? value : null;
}
