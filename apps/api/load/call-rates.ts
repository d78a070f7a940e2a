import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import { credentialOf } from '../auth/authenticate.ts';
import { hashSecret } from '../auth/secrets.ts';
import type { App } from '../http/bare-app.ts';

export type CallRates = {
  /** Calls per second of one token; 0: unlimited. */
  perToken: number;
  /** Calls per second of one address without a token that is known to be valid; 0: unlimited. */
  perAddress: number;
};

/** Most remembered tokens and addresses; a forgotten one starts with a full allowance. */
const maxRemembered = 10_000;

/**
 * Limits the call rate of each caller. A token that was recently valid has its own allowance; other calls share that of their address, so
 * that guessing tokens or flooding is stopped before the database is queried.
 */
export function limitCallRates(app: App, { perToken, perAddress }: CallRates): void {
  const tokens = createRateLimit({ perSecond: perToken, most: maxRemembered });
  const addresses = createRateLimit({ perSecond: perAddress, most: maxRemembered });
  /** The token of each credential that was recently valid: its sessions share its allowance. */
  const valid = new Map<string, string>();

  app.addHook('onRequest', async (request) => {
    if (request.routeOptions.config.load === 'none') return;
    const hash = credentialHashOf(request);
    const tokenId = hash === null ? undefined : valid.get(hash);
    if (tokenId !== undefined) take(tokens, tokenId, `the limit of the token is ${perToken} calls per second`);
    else take(addresses, request.ip, `the limit of ${request.ip} without a known token is ${perAddress} calls per second`);
  });
  app.addHook('onResponse', async (request, reply) => {
    const hash = credentialHashOf(request);
    if (hash === null) return;
    if (reply.statusCode === 401) valid.delete(hash);
    else if (request.caller !== null) {
      valid.set(hash, request.caller.tokenId);
      const [oldest] = valid.keys();
      if (valid.size > maxRemembered && oldest !== undefined) valid.delete(oldest);
    }
  });
}

function take(limit: ReturnType<typeof createRateLimit>, key: string, rule: string): void {
  const waitMs = limit.take(key);
  if (waitMs === 0) return;
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000));
  throw new CairnError('rate_limited', `Too many calls: ${rule}`, { details: { retryAfterSeconds } });
}

function credentialHashOf(request: FastifyRequest): string | null {
  const credential = credentialOf(request);
  return credential === null ? null : hashSecret(credential.secret);
}

/** Seconds of unused allowance that accumulate, so that a short burst is allowed. */
const burstSeconds = 2;

/**
 * A rate limit per key: `perSecond` on average, with bursts of two seconds' worth. For unbounded sets of keys, such as addresses: only the
 * `most` newest are remembered.
 */
export function createRateLimit({
  perSecond,
  most,
  now = () => performance.now(),
}: {
  perSecond: number;
  most: number;
  now?: () => number;
}) {
  /** When the allowance of a key is full again, in milliseconds; ordered by last call. */
  const fullAt = new Map<string, number>();
  const costMs = 1000 / perSecond;
  const maxDebtMs = burstSeconds * 1000;

  return {
    /**
     * Takes one call from the key's allowance and returns 0; if it is empty, takes nothing and returns the milliseconds until the next one.
     */
    take(key: string): number {
      if (perSecond === 0) return 0;
      const at = now();
      const owedMs = Math.max(0, (fullAt.get(key) ?? 0) - at);
      const waitMs = owedMs + costMs - Math.max(maxDebtMs, costMs);
      if (waitMs > 0) return waitMs;
      fullAt.delete(key);
      fullAt.set(key, at + owedMs + costMs);
      const [oldest] = fullAt.keys();
      if (fullAt.size > most && oldest !== undefined) fullAt.delete(oldest);
      return 0;
    },
    size: () => fullAt.size,
  };
}
