import { randomUUID } from 'node:crypto';
import { maxHeaderSize, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { CairnError } from '@cairn/contract';
import { headersTimeoutMs } from '../load/bound-connections.ts';
import { problemOf } from './problem.ts';

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
