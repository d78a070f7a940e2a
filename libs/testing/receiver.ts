import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export type Received = { method: string; path: string; headers: IncomingHttpHeaders; body: string };
export type Reaction = (received: Received, response: ServerResponse) => void;

/** Registers what to do when the receiver is not needed any more. */
export type CloseAfter = (close: () => Promise<void>) => void;

/** A real HTTP server that records requests, until the test has finished; `react` may be replaced while it runs. */
export async function startReceiver(
  react: Reaction = (_, response) => response.writeHead(204).end(),
  closeAfter: CloseAfter = onTestFinished,
) {
  const requests: Received[] = [];
  const receiver = { requests, react, url: '' };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const received = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
    requests.push(received);
    receiver.react(received, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closeAfter(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return receiver;
}

export const answerJson = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
};
