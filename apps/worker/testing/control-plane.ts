import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import {
  type AttemptSpec,
  CairnError,
  claimRequest,
  type ErrorCode,
  errorTable,
  type FinishRequest,
  finishRequest,
  isCairnError,
  type ReportItem,
  type ReportReply,
  reportRequest,
  type ShardCommit,
  shardCommit,
  stagedFilesPage,
  startRequest,
} from '@cairn/contract';
import { freePort } from '@cairn/runtime';

export type ShardRow = {
  index: number;
  from: number;
  count: number;
  holder: 'attempt' | 'other' | null;
  tries: number;
  commit: ShardCommit | null;
};

/**
 * The internal port of a control plane for one attempt, in memory, on a real socket: requests are parsed with the
 * contract's schemas and applied once. Tests take it down, bring it back on its port, and change its answers.
 */
export async function startControlPlane(initial: { spec: AttemptSpec; token?: string }) {
  const port = await freePort();
  const token = initial.token ?? 'cat_test';
  const state = {
    spec: initial.spec,
    starts: [] as string[],
    /** The reports as applied, by sequence number. */
    reports: [] as { seq: number; items: ReportItem[] }[],
    repeatedReports: 0,
    finishes: [] as FinishRequest[],
    shards: [] as ShardRow[],
    /** Where the last holder of the shards kept what it had finished. */
    resumeFrom: null as string | null,
    /** The answer to every report. */
    reply: { directive: 'continue', cause: null, reason: null, graceSeconds: 30 } as ReportReply,
    superseded: false,
    /** Drops the answers of this many of the next requests after they were applied. */
    losesAnswers: 0,
    /** Called before a request is handled, with its path below the attempt. */
    onRequest: (_path: string): void | Promise<void> => undefined,
    onReport: (_body: unknown): void => undefined,
    /** Items that are refused as if the control plane did not know them. */
    refuses: (_item: ReportItem): boolean => false,
    /** Ends that are refused as if they did not describe an artifact. */
    refusesEnd: (_finish: FinishRequest): boolean => false,
  };

  const instanceOf = new Map<string, string>();

  function handle(method: string, path: string, body: unknown): unknown {
    if (state.superseded) throw new CairnError('superseded', 'another attempt took over');
    if (method === 'GET' && path === '') return state.spec;
    const page = /^\/shards\/files\?from=(\d+)$/.exec(path);
    if (page) return pageFrom(Number(page[1]));
    const shard = /^\/shards\/(\d+)\/(commit|release)$/.exec(path);
    if (shard) return handleShard(Number(shard[1]), shard[2] === 'commit', body);
    switch (path) {
      case '/start': {
        const { instance } = startRequest.parse(body);
        const first = instanceOf.get('instance') ?? instance;
        if (first !== instance) throw new CairnError('superseded', 'the attempt was started by another process');
        instanceOf.set('instance', instance);
        state.starts.push(instance);
        return {};
      }
      case '/reports': {
        if (state.finishes.length > 0) throw new CairnError('superseded', 'the attempt is over');
        state.onReport(body);
        const { seq, items } = reportRequest.parse(body);
        if (items.some(state.refuses)) throw new CairnError('invalid_request', 'an item is unknown');
        const last = state.reports.at(-1)?.seq ?? 0;
        if (seq > last + 1) throw new CairnError('invalid_request', `report ${seq} came after ${last}`);
        if (seq <= last) state.repeatedReports += 1;
        else state.reports.push({ seq, items });
        return state.reply;
      }
      case '/shards/claim': {
        const { holding } = claimRequest.parse(body);
        const open = state.shards.filter((row) => row.commit === null && !holding.includes(row.index));
        const free = open.find((row) => row.holder === 'attempt') ?? open.find((row) => row.holder === null);
        const done = state.shards.every((row) => row.commit !== null);
        if (free === undefined) return { shard: null, done, retryAfterSeconds: 0.05 };
        if (free.holder === null) free.tries += 1;
        free.holder = 'attempt';
        const { index, from, count, tries } = free;
        return { shard: { index, from, count, tries, resumeFrom: state.resumeFrom }, done, retryAfterSeconds: 0 };
      }
      case '/finish': {
        const finish = finishRequest.parse(body);
        if (state.refusesEnd(finish)) throw new CairnError('invalid_request', 'it does not describe an artifact');
        if (state.finishes.length > 0 && JSON.stringify(state.finishes[0]) !== JSON.stringify(finish)) {
          throw new CairnError('superseded', 'the attempt is over');
        }
        if (state.finishes.length === 0) state.finishes.push(finish);
        return {};
      }
      default:
        throw new CairnError('not_found', `no ${method} ${path}`);
    }
  }

  /** Two shards per page. */
  function pageFrom(from: number): unknown {
    const shards = state.shards.filter((row) => row.index >= from).slice(0, 2);
    const next = from + 2 < state.shards.length ? from + 2 : null;
    return stagedFilesPage.parse({ shards: shards.map(({ index, commit }) => ({ index, files: commit?.files ?? [] })), next });
  }

  function handleShard(index: number, isCommit: boolean, body: unknown): unknown {
    const row = state.shards.find((shard) => shard.index === index);
    if (row === undefined) throw new CairnError('not_found', `no shard ${index}`);
    if (row.holder !== 'attempt') throw new CairnError('lease_lost', `shard ${index} is leased to another`);
    if (isCommit) row.commit = shardCommit.parse(body);
    else row.holder = null;
    return {};
  }

  function answer(method: string, path: string, headers: Record<string, unknown>, text: string): { status: number; body: unknown } {
    try {
      if (headers.authorization !== `Bearer ${token}`) throw new CairnError('unauthenticated', 'wrong token');
      if (headers['x-cairn-generation'] !== String(state.spec.attempt.generation)) throw new CairnError('superseded', 'old generation');
      return { status: 200, body: handle(method, path, text === '' ? null : JSON.parse(text)) };
    } catch (error) {
      return problemOf(error);
    }
  }

  let server: Server | undefined;

  async function up(): Promise<void> {
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      const path = (request.url ?? '').replace(`/internal/v1/attempts/${state.spec.attempt.id}`, '');
      await state.onRequest(path);
      const { status, body } = answer(request.method ?? '', path, request.headers, text);
      if (state.losesAnswers > 0) {
        state.losesAnswers -= 1;
        request.socket.destroy();
      } else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    }).listen(port, '127.0.0.1');
    await once(server, 'listening');
  }

  async function down(): Promise<void> {
    const closing = server;
    if (closing === undefined) return;
    server = undefined;
    closing.closeAllConnections();
    closing.close();
    await once(closing, 'close');
  }

  await up();

  /** All report items of a type, in order. */
  function items<T extends ReportItem['type']>(type: T): Extract<ReportItem, { type: T }>[] {
    const isOfType = (item: ReportItem): item is Extract<ReportItem, { type: T }> => item.type === type;
    return state.reports.flatMap((report) => report.items).filter(isOfType);
  }

  return {
    url: `http://127.0.0.1:${port}`,
    token,
    state,
    up,
    down,
    items,
    /** A log stream assembled from its chunks. Throws when a byte is missing or repeated. */
    logText(stream: string): string {
      let text = '';
      for (const item of items('log').filter((log) => log.stream === stream)) {
        if (item.offset !== Buffer.byteLength(text)) throw new Error(`a chunk at ${item.offset} follows ${Buffer.byteLength(text)} bytes`);
        text += item.text;
      }
      return text;
    },
    close: down,
  };
}
export type ControlPlane = Awaited<ReturnType<typeof startControlPlane>>;

function problemOf(error: unknown): { status: number; body: unknown } {
  const code: ErrorCode = isCairnError(error) ? error.code : 'invalid_request';
  const { status, title, remedy, retry } = errorTable[code];
  const detail = error instanceof Error ? error.message : String(error);
  return { status, body: { type: 'about:blank', title, status, code, detail, remedy, retry, requestId: 'test' } };
}
