import { randomUUID } from 'node:crypto';
import type { Logger } from '@cairn/runtime';
import fastify, { LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { type ConnectionBounds, headersTimeoutMs } from '../load/bound-connections.ts';
import { asCairnError, problemOf } from './problem.ts';
import { answerUnreadableRequest } from './unreadable-request.ts';

export type App = ReturnType<typeof bareApp>;

/** A server of Fastify with our limits and logs, without hooks and parsers. */
export function bareApp({ log, maxBodyBytes, connections }: { log: Logger; maxBodyBytes: number; connections: ConnectionBounds }) {
  return fastify({
    loggerInstance: log,
    // One line a request, of our own, when it is done.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: maxBodyBytes,
    // The bodies have limits of time of their own: a file may take longer than a question. Headers have Node's.
    requestTimeout: 0,
    http: { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: headersTimeoutMs / 4 },
    // Who calls, where a proxy stands between: for the limits of one address.
    trustProxy: connections.trusted.length > 0 ? [...connections.trusted] : false,
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    exposeHeadRoutes: false,
    // Longer than any name, so that the schemas refuse it with a reason.
    routerOptions: { maxParamLength: 1_000 },
    clientErrorHandler: answerUnreadableRequest,
    frameworkErrors: (error, request, reply) => {
      // Before any route was found: there is no schema that an answer could fit.
      const known = asCairnError(error);
      reply.hijack();
      reply.raw.writeHead(known.row.status, { 'content-type': 'application/problem+json', 'x-request-id': request.id });
      reply.raw.end(JSON.stringify(problemOf(known, request.id)));
    },
  }).withTypeProvider<ZodTypeProvider>();
}
