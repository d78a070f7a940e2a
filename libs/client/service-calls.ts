import { auditPage, fleetView, type gcRequest, gcResult, tokenCreated, tokenList, type tokenRequest } from '@cairn/contract';
import type { z } from 'zod';
import type { PageQuery } from './catalogue-calls.ts';
import { eachItem } from './pages.ts';
import { type Requester, type RequestOptions, statusAlone } from './request.ts';

/** Calls about the service itself: fleet, tokens, audit, clearing out, health. */
export function serviceCalls({ send }: Requester) {
  const listAudit = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'audit'], query, repeatable: true, answer: auditPage }, options);

  return {
    getFleet: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'fleet'], repeatable: true, answer: fleetView }, options),

    listTokens: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'tokens'], repeatable: true, answer: tokenList }, options),
    /** The answer alone carries the secret; it is never shown again, so a failed try is not repeated. */
    createToken: (body: z.input<typeof tokenRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: ['v1', 'tokens'], body, repeatable: false, answer: tokenCreated }, options),
    revokeToken: async (tokenId: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'tokens', tokenId], repeatable: false, answer: statusAlone }, options);
    },

    listAudit,
    eachAuditEntry: (options?: RequestOptions) => eachItem((cursor) => listAudit(cursor === undefined ? {} : { cursor }, options)),

    /** Removes artifacts that no run refers to and the staging of attempts that are over. */
    collectGarbage: (body: z.input<typeof gcRequest> = {}, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'gc'], body, repeatable: false, answer: gcResult },
        { ...options, timeoutMs: options.timeoutMs ?? 5 * 60_000 },
      ),

    /** Resolves when every part the API needs answers; throws `unavailable` naming the one that does not. */
    checkReady: async (options?: RequestOptions): Promise<void> => {
      await send({ method: 'GET', path: ['readyz'], repeatable: false, answer: statusAlone }, options);
    },
  };
}
