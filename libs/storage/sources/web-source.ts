import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { CairnError } from '@cairn/contract';
import { usedProxies } from '@cairn/runtime';
import { shorter } from './s3-source.ts';
import type { SourceFile, SourceRequests } from './source.ts';

/** Connections to the server. */
const maxSockets = 32;

/** An answer that is not what was requested. */
class WebAnswer extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A folder of a web server, read only: it must support ranges. Redirects are refused, because they could lead anywhere. */
export function webSource(root: URL): SourceRequests {
  const url = root.href.replace(/\/+$/, '');
  const options = { keepAlive: true, maxSockets, proxyEnv: usedProxies() };
  const agent = root.protocol === 'https:' ? new https.Agent(options) : new http.Agent(options);
  const send = root.protocol === 'https:' ? https.request : http.request;

  async function request(method: 'GET' | 'HEAD', path: string, headers: Record<string, string>, signal: AbortSignal) {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const address = `${url}/${path.split('/').map(encodeURIComponent).join('/')}`;
    send(address, { method, agent, headers: { ...headers, 'accept-encoding': 'identity' }, signal }, resolve)
      .on('error', reject)
      .end();
    const answer = await promise;
    answer.on('error', () => undefined);
    return answer;
  }

  /** Discards the answer, and returns its error. */
  function refused(answer: IncomingMessage): WebAnswer {
    const { statusCode: status = 0, headers } = answer;
    answer.resume();
    return new WebAnswer(status, `the server answered ${status}${headers.location === undefined ? '' : ` (to ${headers.location})`}`);
  }

  return {
    url,

    async head(path, signal) {
      const answer = await request('HEAD', path, {}, signal);
      // Storage without public listings answers 403 for a file that does not exist.
      if ([403, 404, 410].includes(answer.statusCode ?? 0)) return answer.resume() && null;
      if (answer.statusCode !== 200) throw refused(answer);
      answer.resume();
      return fileOf(path, Number(answer.headers['content-length']), answer);
    },

    async open(path, { start, end }, signal) {
      const answer = await request('GET', path, { range: `bytes=${start}-${end - 1}` }, signal);
      const { statusCode: status, headers } = answer;
      if (status === 404 || status === 410) return answer.resume() && null;
      if (status === 416) throw answer.resume() && shorter(`${url}/${path}`, start);
      if (status === 200) {
        answer.destroy();
        throw new WebAnswer(501, 'the server does not support ranges: use one that does, such as nginx or an object storage');
      }
      if (status !== 206) throw refused(answer);
      const [, first, bytes] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers['content-range'] ?? '') ?? [];
      if (Number(first) !== start) {
        answer.destroy();
        throw new Error(`the answer is not the requested range from byte ${start}`);
      }
      return { body: answer, file: fileOf(path, Number(bytes), answer) };
    },

    list: null,

    faultOf(error, path) {
      if (error instanceof CairnError) return { error, mayPass: false };
      const message = error instanceof Error ? error.message : String(error);
      const told = new CairnError('storage_failed', `Reading ${url}/${path} failed: ${message}`, { cause: error });
      const status = error instanceof WebAnswer ? error.status : null;
      if (status === null || status === 408 || status === 429 || (status >= 500 && status !== 501)) return { error: told, mayPass: true };
      return {
        error: new CairnError('source_denied', told.message, { cause: error, details: { file: `${url}/${path}` } }),
        mayPass: false,
      };
    },

    renew: () => undefined,
    close: () => agent.destroy(),
  };
}

function fileOf(path: string, bytes: number, { headers }: IncomingMessage): SourceFile {
  const changedMs = Date.parse(headers['last-modified'] ?? '');
  return {
    path,
    bytes,
    changedMs: Number.isNaN(changedMs) ? 0 : changedMs,
    etag: headers.etag?.replace(/^W\//, '').replaceAll('"', '') ?? null,
  };
}
