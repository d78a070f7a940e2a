import { type FileHandle, open as openFile } from 'node:fs/promises';
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { CairnError } from '@cairn/contract';
import { backoff, sleep } from '@cairn/runtime';

/** Limits of downloads. */
export type Fetching = {
  /** Attempts without progress, including the first, before a download fails. */
  tries: number;
  /** A connection without data for `idleMs` counts as lost; the backoff doubles from the first to the longest pause. */
  limits: { firstPauseMs: number; longestPauseMs: number; idleMs: number };
  signal: AbortSignal;
  onBytes: (bytes: number) => void;
};

/** A transient failure: the server is overloaded, restarts, or lost the connection. */
class PassingFailure extends Error {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs = 0, cause?: unknown) {
    super(message, { cause });
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Downloads a URL into a file, continuing at the end of a partial file. A server without range support is read from the start. The caller
 * must verify the result: if the file was replaced in between it is a mixture.
 *
 * @throws CairnError `missing_file` if the server has no such file, `unavailable` if the download fails; the file system's error.
 */
export async function download(url: string, path: string, fetching: Fetching): Promise<void> {
  await (await openFile(path, 'a')).close();
  const file = await openFile(path, 'r+');
  try {
    let furthest = (await file.stat()).size;
    await tryOften(url, fetching, async () => {
      const before = furthest;
      try {
        await receive(url, file, fetching, (position) => {
          furthest = Math.max(furthest, position);
        });
      } catch (error) {
        throw furthest > before && error instanceof PassingFailure ? new Advanced(error) : error;
      }
    });
  } finally {
    await file.close();
  }
}

/** The text at a URL. Throws as {@link download} does. */
export async function fetchText(url: string, fetching: Fetching): Promise<string> {
  return tryOften(url, fetching, async () => {
    const idle = idleSignal(fetching);
    try {
      const { body } = await request(url, {}, idle.signal);
      return await textOf(url, body);
    } catch (error) {
      throw passing(error, fetching, idle.signal);
    } finally {
      idle.end();
    }
  });
}

/** After a failed attempt with progress the count starts over. */
class Advanced extends Error {
  readonly failure: PassingFailure;

  constructor(failure: PassingFailure) {
    super(failure.message, { cause: failure });
    this.failure = failure;
  }
}

async function tryOften<T>(url: string, { tries, limits, signal }: Fetching, work: () => Promise<T>): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      const failure = error instanceof Advanced ? error.failure : error;
      if (!(failure instanceof PassingFailure)) throw error;
      failures = error instanceof Advanced ? 1 : failures + 1;
      if (failures >= tries) {
        const message = `${url} cannot be downloaded, ${tries} attempts without progress: ${failure.message}`;
        const remedy = 'Check the network and the URL, then run the command again: it continues where it stopped.';
        throw new CairnError('unavailable', message, { details: { url, remedy }, cause: failure });
      }
      const pause = backoff({ attempt: failures - 1, baseMs: limits.firstPauseMs, maxMs: limits.longestPauseMs });
      await sleep(Math.max(pause, Math.min(failure.retryAfterMs, limits.longestPauseMs)), signal);
    }
  }
}

/** A server that never stops sending must not fill the disk. GLDv2's largest tar has 1.2 GB. */
const mostFileBytes = 64 * 1024 ** 3;

/** One request, from the file's end. `onPosition` receives the new size of the file. */
async function receive(url: string, file: FileHandle, fetching: Fetching, onPosition: (position: number) => void): Promise<void> {
  let position = (await file.stat()).size;
  const idle = idleSignal(fetching);
  try {
    const { status, headers, body } = await request(url, position > 0 ? { range: `bytes=${position}-` } : {}, idle.signal).catch(
      (error: unknown) => {
        throw passing(error, fetching, idle.signal);
      },
    );
    const range = headers['content-range'] ?? '';
    if (status === 416) {
      body.destroy();
      if (range === `bytes */${position}`) return;
    }
    if (status === 416 || (status === 206 && !range.startsWith(`bytes ${position}-`))) {
      body.destroy();
      await file.truncate(0);
      throw new PassingFailure(`it returned ${range || 'no range'} for a request of the bytes from ${position}`);
    }
    if (status === 200 && position > 0) {
      await file.truncate(0);
      position = 0;
    }
    const chunks = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    for (;;) {
      const next = await chunks.next().catch((error: unknown) => {
        throw passing(error, fetching, idle.signal);
      });
      if (next.done) return;
      const chunk = next.value;
      idle.touch();
      if (position + chunk.length > mostFileBytes) throw new CairnError('unavailable', `${url} is larger than ${mostFileBytes} bytes`);
      await writeAt(file, chunk, position);
      position += chunk.length;
      fetching.onBytes(chunk.length);
      onPosition(position);
    }
  } finally {
    idle.end();
  }
}

async function writeAt(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    written += (await file.write(chunk, written, chunk.length - written, position + written)).bytesWritten;
  }
}

type Answer = { status: number; headers: IncomingHttpHeaders; body: IncomingMessage };

const mostRedirects = 5;

/** A response of 200, 206 or 416, after redirects. */
async function request(url: string, headers: Record<string, string>, signal: AbortSignal, redirects = 0): Promise<Answer> {
  const body = await open(url, { ...headers, 'accept-encoding': 'identity' }, signal);
  const { statusCode: status = 0 } = body;
  if (status === 200 || status === 206 || (status === 416 && 'range' in headers)) return { status, headers: body.headers, body };
  body.destroy();
  const { location } = body.headers;
  if ([301, 302, 303, 307, 308].includes(status) && location !== undefined && redirects < mostRedirects) {
    const next = URL.canParse(location, url) ? new URL(location, url) : null;
    if (next !== null && /^https?:$/.test(next.protocol)) return request(next.href, headers, signal, redirects + 1);
  }
  if ([401, 403, 404, 410].includes(status)) {
    const message = `${url} not found or not accessible: the server returned ${status}; check the URL and the numbers of the tars`;
    throw new CairnError('missing_file', message, { details: { url, status } });
  }
  if (status === 408 || status === 429 || status >= 500) {
    throw new PassingFailure(`the server returned ${status}`, 1000 * (Number(body.headers['retry-after']) || 0));
  }
  throw new CairnError('unavailable', `${url} cannot be downloaded: the server returned ${status}`, { details: { url, status } });
}

/**
 * Sends a request with node:http, whose agents send http URLs to a proxy like curl. `fetch` would open a tunnel, which proxies reject for
 * ports other than 443.
 */
function open(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const send = new URL(url).protocol === 'https:' ? https.get : http.get;
  send(url, { headers, signal }, resolve).on('error', reject);
  return promise;
}

/** An md5 file has one line. */
const mostTextBytes = 64 * 1024;

async function textOf(url: string, body: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > mostTextBytes) throw new CairnError('unavailable', `${url} is larger than ${mostTextBytes} bytes: it is not an md5 file`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** An error of a request is a lost connection, or our own. */
function passing(error: unknown, { signal, limits }: Fetching, idle: AbortSignal): unknown {
  if (error instanceof CairnError || error instanceof PassingFailure || signal.aborted) return error;
  if (idle.aborted) return new PassingFailure(`no data for ${limits.idleMs / 1000} s`);
  return new PassingFailure(error instanceof Error ? error.message : String(error), 0, error);
}

/** Fires when no data arrives for a while, or the download is stopped. */
function idleSignal({ signal, limits }: Fetching): { signal: AbortSignal; touch: () => void; end: () => void } {
  const idle = new AbortController();
  const expire = (): void => idle.abort(new DOMException('idle', 'TimeoutError'));
  const timer = setTimeout(expire, limits.idleMs);
  return { signal: AbortSignal.any([signal, idle.signal]), touch: () => void timer.refresh(), end: () => clearTimeout(timer) };
}
