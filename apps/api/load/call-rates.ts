import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import { bearerOf } from '../auth/authenticate.ts';
import { hashSecret } from '../auth/secrets.ts';
import type { App } from '../http/bare-app.ts';

export type CallRates = {
  /** Calls a second of one token; 0: any number. */
  perToken: number;
  /** Calls a second of one address that come with no token, or with one that is not known to be good; 0: any number. */
  perAddress: number;
};

/** So many of each are remembered; who was forgotten begins with a full allowance. */
const maxRemembered = 10_000;

/**
 * Limits how often one caller may call. A token that was good a moment ago has an allowance of its own; everybody else shares that of
 * the address, so that who guesses tokens from it, or floods it, is stopped before the database is asked.
 */
export function limitCallRates(app: App, { perToken, perAddress }: CallRates): void {
  const tokens = createRateLimit({ perSecond: perToken, most: maxRemembered });
  const addresses = createRateLimit({ perSecond: perAddress, most: maxRemembered });
  const good = new Set<string>();

  app.addHook('onRequest', async (request) => {
    if (request.routeOptions.config.load === 'none') return;
    const hash = tokenHashOf(request);
    if (hash !== null && good.has(hash)) take(tokens, hash, `the token may make ${perToken} calls a second`);
    else take(addresses, request.ip, `${request.ip} may make ${perAddress} calls a second without a token that is known`);
  });
  app.addHook('onResponse', async (request, reply) => {
    const hash = tokenHashOf(request);
    if (hash === null) return;
    if (reply.statusCode === 401) good.delete(hash);
    else if (request.caller !== null) {
      good.add(hash);
      const [oldest] = good;
      if (good.size > maxRemembered && oldest !== undefined) good.delete(oldest);
    }
  });
}

function take(limit: ReturnType<typeof createRateLimit>, key: string, rule: string): void {
  const waitMs = limit.take(key);
  if (waitMs === 0) return;
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000));
  throw new CairnError('rate_limited', `Too many calls: ${rule}`, { details: { retryAfterSeconds } });
}

function tokenHashOf(request: FastifyRequest): string | null {
  const secret = bearerOf(request.headers.authorization);
  return secret === null ? null : hashSecret(secret);
}

/** Seconds for which an allowance that was not used is kept: a short burst is no flood. */
const burstSeconds = 2;

/**
 * An allowance for each key: `perSecond` on average, and what two seconds allow at once. For keys that nobody bounds, such as addresses:
 * only the `most` newest are remembered.
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
  /** When the allowance of a key is full again, in milliseconds; in the order of the last call. */
  const fullAt = new Map<string, number>();
  const costMs = 1000 / perSecond;
  const maxDebtMs = burstSeconds * 1000;

  return {
    /** Takes one from the key's allowance. Milliseconds until there is one when there is none now, and then takes nothing; else 0. */
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
