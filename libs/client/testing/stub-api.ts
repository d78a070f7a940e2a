import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ErrorCode, errorTable, type Problem } from '@cairn/contract';

export type StubRequest = { method: string; path: string; query: URLSearchParams; headers: IncomingMessage['headers']; body: string };
export type StubHandler = (request: StubRequest, response: ServerResponse, match: RegExpMatchArray) => unknown;

export type StubApi = {
  url: string;
  requests: StubRequest[];
  /** Answers `METHOD /path` (a pattern over the whole path) with the handler's result as JSON, or as the handler writes it itself. */
  on: (method: string, path: string, handler: StubHandler) => void;
  close: () => Promise<void>;
};

/** A real HTTP server that answers as a test defines: for the client's behaviour on the wire. */
export async function startStubApi(port = 0): Promise<StubApi> {
  const routes: { method: string; pattern: RegExp; handler: StubHandler }[] = [];
  const requests: StubRequest[] = [];

  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const address = new URL(incoming.url ?? '/', 'http://stub');
      const request = {
        method: incoming.method ?? 'GET',
        path: address.pathname,
        query: address.searchParams,
        headers: incoming.headers,
        body: Buffer.concat(chunks).toString('utf8'),
      };
      requests.push(request);
      void answer(request, response);
    });
  });

  async function answer(request: StubRequest, response: ServerResponse): Promise<void> {
    // The newest route first, so that a test can override its fixture's.
    for (const { method, pattern, handler } of routes.toReversed()) {
      const match = request.path.match(pattern);
      if (method !== request.method || match === null) continue;
      const value = await handler(request, response, match);
      if (value !== undefined) response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
      return;
    }
    sendProblem(response, 'not_found', `${request.method} ${request.path} is not found`);
  }

  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${bound}`,
    requests,
    on: (method, path, handler) => routes.push({ method, pattern: new RegExp(`^${path}$`), handler }),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Ends the response with the problem document of `code`. */
export function sendProblem(response: ServerResponse, code: ErrorCode, detail: string, details?: Record<string, unknown>): void {
  const row = errorTable[code];
  const document: Problem = {
    type: `urn:cairn:error:${code}`,
    title: row.title,
    status: row.status,
    code,
    detail,
    remedy: row.remedy,
    retry: row.retry,
    requestId: 'req-1',
    ...(details === undefined ? {} : { details }),
  };
  response.writeHead(row.status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(document));
}
