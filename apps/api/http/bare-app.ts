import { randomUUID } from 'node:crypto';
import { maxHeaderSize, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { CairnError } from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import fastify, { LogController } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { type ConnectionBounds, headersTimeoutMs } from '../load/bound-connections.ts';
import { asCairnError, problemOf } from './problem.ts';

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

type Fault = { said: string; status?: number; retry?: boolean };

/** What Node could not read as a request, by its code. One whose headers came too slowly, as from a machine that stood still, may be sent again. */
const faults = new Map<string, Fault>([
  ['ERR_HTTP_REQUEST_TIMEOUT', { said: `its headers did not come within ${headersTimeoutMs / 1000} s`, status: 408, retry: true }],
  ['HPE_HEADER_OVERFLOW', { said: `its URL and headers have more than ${maxHeaderSize} bytes` }],
]);

/** As much of a connection as an answer needs. */
type Connection = Pick<Socket, 'destroyed' | 'writable'> & { write(text: string): unknown; destroy(error: Error): unknown };

/** Answers what is no request of HTTP, for which there is no route and no reply, with a problem document too, and closes the connection. */
export function answerUnreadableRequest(error: Error & { code?: string }, socket: Connection): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  if (socket.writable) {
    const requestId = randomUUID();
    const { said, ...other } = faults.get(error.code ?? '') ?? { said: 'it is not valid HTTP' };
    const document = { ...problemOf(new CairnError('invalid_request', `The request cannot be read: ${said}`), requestId), ...other };
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
