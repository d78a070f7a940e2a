import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type AttemptView,
  actionsIn,
  byPerson,
  type ErrorCode,
  errorTable,
  type Problem,
  type RunEvent,
  type RunView,
  runEvent,
  type StepView,
} from '@cairn/contract';

type StubRequest = { method: string; path: string; query: URLSearchParams; headers: IncomingMessage['headers']; body: string };
type StubHandler = (request: StubRequest, response: ServerResponse, match: RegExpMatchArray) => unknown;

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

/** A body that ends only with its connection. */
export function sendEndlessly(response: ServerResponse, piece = 'x'.repeat(1 << 16)): void {
  const send = (): void => {
    while (!response.destroyed && response.write(piece));
  };
  response.on('drain', send).on('error', () => undefined);
  send();
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

/** An id in the contract's form, from a number. */
export const idFor = (prefix: string, n: number): string => `${prefix}_${String(n).padStart(26, '0')}`;

const created = '2026-01-02T03:04:05.000Z';

export const aStep = (over: Partial<StepView> = {}): StepView => ({
  id: idFor('stp', 1),
  name: 'prepare',
  kind: 'prepare',
  state: 'blocked',
  needs: [],
  reads: [],
  settings: {},
  pool: 'tasks',
  slots: 1,
  gpuSeconds: 0,
  actions: actionsIn('running', { actions: ['retry'] }),
  waiting: null,
  waitingFor: [],
  progress: null,
  shards: null,
  failure: null,
  failureCard: null,
  artifact: null,
  removed: null,
  reusedFrom: null,
  scores: {},
  attempts: 0,
  createdAt: created,
  startedAt: null,
  finishedAt: null,
  ...over,
});

export const aRun = (over: Partial<RunView> = {}): RunView => ({
  id: idFor('run', 1),
  name: 'mini-1',
  recipe: 'mini',
  dataset: 'mini@1',
  owner: 'admin',
  state: 'running',
  cause: null,
  verdict: 'none',
  priority: 0,
  origin: byPerson,
  source: null,
  labels: {},
  group: null,
  pinnedBy: null,
  tags: [],
  noteLine: null,
  note: null,
  retiredAt: null,
  onNewer: 'queue',
  cancelCause: null,
  hold: null,
  seq: 1,
  steps: { total: over.stepViews?.length ?? 1, done: 0, reused: 0 },
  createdAt: created,
  startedAt: created,
  finishedAt: null,
  updatedAt: created,
  share: 0,
  now: null,
  mapAt100: { best: null, last: null },
  gpuSeconds: 0,
  actions: actionsIn(over.state ?? 'running'),
  noReuse: false,
  recipeYaml: 'name: mini\n',
  given: { recipe: 'mini', set: {}, until: null },
  gate: null,
  stepViews: [aStep()],
  ...over,
});

export const anAttempt = (over: Partial<AttemptView> = {}): AttemptView => ({
  id: idFor('att', 1),
  runId: idFor('run', 1),
  stepId: idFor('stp', 1),
  step: 'prepare',
  ordinal: 1,
  generation: 1,
  state: 'running',
  purpose: 'work',
  failure: null,
  finding: null,
  contact: 'ok',
  pool: 'local',
  place: null,
  resumedFrom: null,
  reachedStep: null,
  createdAt: created,
  startedAt: created,
  endedAt: null,
  lastContactAt: null,
  ...over,
});

export const anEvent = (
  seq: number,
  over: Partial<Pick<RunEvent, 'runId' | 'at' | 'type' | 'message'>> & { data?: object } = {},
): RunEvent =>
  runEvent.parse({ runId: idFor('run', 1), seq, at: created, type: 'step', message: `event ${seq}`, data: { step: '384' }, ...over });
