import { randomUUID } from 'node:crypto';
import { maxHeaderSize, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { CairnError, idOf, problem, safeName, writtenText } from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import fastify, { LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { type ConnectionBounds, headersTimeoutMs } from '../load/bound-connections.ts';
import { asCairnError, problemOf } from './problem.ts';

export type App = ReturnType<typeof bareApp>;

/** A Fastify server with our limits and logging, without hooks and parsers. */
export function bareApp({ log, maxBodyBytes, connections }: { log: Logger; maxBodyBytes: number; connections: ConnectionBounds }) {
  return fastify({
    loggerInstance: log,
    // We log one line per request ourselves, when it is done.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: maxBodyBytes,
    // Bodies have their own time limits, since a file may take longer than a query. Headers have Node's.
    requestTimeout: 0,
    http: { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: headersTimeoutMs / 4 },
    // The client behind a proxy, for the limits per address.
    trustProxy: connections.trusted.length > 0 ? [...connections.trusted] : false,
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    exposeHeadRoutes: false,
    // Longer than any name, so that the schemas reject it with a reason.
    routerOptions: { maxParamLength: 1_000 },
    clientErrorHandler: answerUnreadableRequest,
    frameworkErrors: (error, request, reply) => {
      // Before routing, so there is no schema for the answer.
      const known = asCairnError(error);
      reply.hijack();
      reply.raw.writeHead(known.row.status, { 'content-type': 'application/problem+json', 'x-request-id': request.id });
      reply.raw.end(JSON.stringify(problemOf(known, request.id)));
    },
  }).withTypeProvider<ZodTypeProvider>();
}

type Fault = { reason: string; status?: number; retry?: boolean };

/**
 * Node's errors for unreadable requests, by code. A request whose headers arrived too slowly, as from a suspended machine, may be retried.
 */
const faults = new Map<string, Fault>([
  ['ERR_HTTP_REQUEST_TIMEOUT', { reason: `its headers did not arrive within ${headersTimeoutMs / 1000} s`, status: 408, retry: true }],
  ['HPE_HEADER_OVERFLOW', { reason: `its URL and headers have more than ${maxHeaderSize} bytes` }],
]);

/** The part of a connection that an answer needs. */
type Connection = Pick<Socket, 'destroyed' | 'writable'> & { write(text: string): unknown; destroy(error: Error): unknown };

/** Answers what is not a valid HTTP request, which has no route and no reply, with a problem document too, and closes the connection. */
export function answerUnreadableRequest(error: Error & { code?: string }, socket: Connection): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  if (socket.writable) {
    const requestId = randomUUID();
    const { reason, ...other } = faults.get(error.code ?? '') ?? { reason: 'it is not valid HTTP' };
    const document = { ...problemOf(new CairnError('invalid_request', `The request cannot be read: ${reason}`), requestId), ...other };
    const body = JSON.stringify(document);
    const head = [
      `HTTP/1.1 ${document.status} ${STATUS_CODES[document.status]}`,
      'content-type: application/problem+json',
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${requestId}`,
      'connection: close',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  }
  socket.destroy(error);
}

const problemContent = { 'application/problem+json': { schema: problem } } as const;

/** The error responses of every route: problem documents. */
export const problems = {
  '4xx': { description: 'The caller can fix it: `code`, `detail` and `remedy` say how.', content: problemContent },
  '5xx': {
    description: 'Cairn or one of its dependencies failed; `retry` says whether the same call may succeed later.',
    content: problemContent,
  },
} as const;

/** The header of calls that create a run. Keys that code of the service derives begin with the kind of the run's origin. */
export const idempotencyHeaders = z.looseObject({
  'idempotency-key': writtenText(200, { least: 1 })
    .refine(
      (key) => !/^(trigger|schedule|dataset|gate):/.test(key),
      'keys that begin with trigger:, schedule:, dataset: or gate: are for the service',
    )
    .optional()
    .describe('Repeating a request with the same key returns the run that the first one created, for example after a lost response.'),
});

/** Names and ids in paths: none can escape a folder, and none is ever used as a file path. */
export const runParams = z.object({ id: idOf('run') });
export const stepParams = z.object({ id: idOf('run'), name: safeName });
export const attemptParams = z.object({ id: idOf('attempt') });
export const nameParams = z.object({ name: safeName });
