import { randomUUID } from 'node:crypto';
import { maxHeaderSize } from 'node:http';
import type { Socket } from 'node:net';
import { CairnError } from '@cairn/contract';
import { headersTimeoutMs } from '../load/bound-connections.ts';
import { problemOf } from './problem.ts';

/** What Node could not read as a request, by its code; a request that breaks off is nobody's to answer. */
const faults = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', `its headers did not come within ${headersTimeoutMs / 1000} s`],
  ['HPE_HEADER_OVERFLOW', `its URL and headers have more than ${maxHeaderSize} bytes`],
]);

/** Answers what is no request of HTTP, for which there is no route and no reply, with a problem document too, and closes the connection. */
export function answerUnreadableRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  if (socket.writable) {
    const requestId = randomUUID();
    const fault = faults.get(error.code ?? '') ?? 'it is not valid HTTP';
    const body = JSON.stringify(problemOf(new CairnError('invalid_request', `The request cannot be read: ${fault}`), requestId));
    const head = [
      'HTTP/1.1 400 Bad Request',
      'content-type: application/problem+json',
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${requestId}`,
      'connection: close',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  }
  socket.destroy(error);
}
