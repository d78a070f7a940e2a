import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import { backoff, sleep } from '@cairn/runtime';

/** How files are fetched. */
export type Fetching = {
  /** Tries that bring nothing new, the first included, before a file is given up. */
  tries: number;
  /** A connection without a byte for `idleMs` counts as gone; the pauses between tries double from the first to the longest. */
  limits: { firstPauseMs: number; longestPauseMs: number; idleMs: number };
  signal: AbortSignal;
  onBytes: (bytes: number) => void;
};

/** What a server may get over: it is overloaded, restarts, or lost the connection. */
class PassingFailure extends Error {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs = 0, cause?: unknown) {
    super(message, { cause });
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Fetches an address into a file, going on at the file's end where it is begun. A server that gives no ranges is read from the start.
 * That the whole is right is for the caller to check: of a file that was replaced in between it is a mixture.
 *
 * @throws CairnError `missing_file` when the server has no such file, `unavailable` when it cannot be had; the system's error of the file.
 */
export async function download(url: string, path: string, fetching: Fetching): Promise<void> {
  await (await open(path, 'a')).close();
  const file = await open(path, 'r+');
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

/** The text at an address. Throws as {@link download} does. */
export async function fetchText(url: string, fetching: Fetching): Promise<string> {
  return tryOften(url, fetching, async () => {
    const idle = idleSignal(fetching);
    try {
      const response = await request(url, {}, idle.signal);
      return await response.text();
    } catch (error) {
      throw passing(error, fetching);
    } finally {
      idle.end();
    }
  });
}

/** A try that failed, but brought the file forward: the next is the first of its kind. */
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
        const message = `${url} cannot be fetched, in ${tries} tries without a new byte: ${failure.message}`;
        const remedy = 'Check the network and the address, then run the same again: it goes on where it was.';
        throw new CairnError('unavailable', message, { details: { url, remedy }, cause: failure });
      }
      const pause = backoff({ attempt: failures - 1, baseMs: limits.firstPauseMs, maxMs: limits.longestPauseMs });
      await sleep(Math.max(pause, Math.min(failure.retryAfterMs, limits.longestPauseMs)), signal);
    }
  }
}

/** One request, from the file's end. `onPosition` is told how far the file has come. */
async function receive(url: string, file: FileHandle, fetching: Fetching, onPosition: (position: number) => void): Promise<void> {
  let position = (await file.stat()).size;
  const idle = idleSignal(fetching);
  try {
    const response = await request(url, position > 0 ? { range: `bytes=${position}-` } : {}, idle.signal).catch((error: unknown) => {
      throw passing(error, fetching);
    });
    const range = response.headers.get('content-range') ?? '';
    if (response.status === 416) {
      await response.body?.cancel();
      if (range === `bytes */${position}`) return;
    }
    if (response.status === 416 || (response.status === 206 && !range.startsWith(`bytes ${position}-`))) {
      await response.body?.cancel();
      await file.truncate(0);
      throw new PassingFailure(`it gave ${range || 'no range'} where bytes from ${position} were asked for`);
    }
    if (response.status === 200 && position > 0) {
      await file.truncate(0);
      position = 0;
    }
    const chunks = (response.body ?? new ReadableStream()).values();
    for (;;) {
      const next = await chunks.next().catch((error: unknown) => {
        throw passing(error, fetching);
      });
      if (next.done) return;
      const chunk: unknown = next.value;
      if (!(chunk instanceof Uint8Array)) throw new TypeError(`${url} gave a chunk that is not bytes`);
      idle.touch();
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

/** An answer of 200, 206 or 416. */
async function request(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
  const response = await fetch(url, { headers: { ...headers, 'accept-encoding': 'identity' }, signal });
  const { status } = response;
  if (status === 200 || status === 206 || (status === 416 && 'range' in headers)) return response;
  await response.body?.cancel();
  if ([401, 403, 404, 410].includes(status)) {
    const message = `${url} is not there, or not open to you: the server answers ${status}; check the address and the numbers of the tars`;
    throw new CairnError('missing_file', message, { details: { url, status } });
  }
  if (status === 408 || status === 429 || status >= 500) {
    throw new PassingFailure(`the server answers ${status}`, 1000 * (Number(response.headers.get('retry-after')) || 0));
  }
  throw new CairnError('unavailable', `${url} cannot be fetched: the server answers ${status}`, { details: { url, status } });
}

/** What fetch throws is a lost connection, or ours. */
function passing(error: unknown, { signal, limits }: Fetching): unknown {
  if (error instanceof CairnError || error instanceof PassingFailure || signal.aborted) return error;
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return new PassingFailure(`no byte came for ${limits.idleMs / 1000} s`);
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return new PassingFailure(cause instanceof Error ? cause.message : String(cause), 0, error);
}

/** Fires when nothing came for a while, or the fetching is stopped. */
function idleSignal({ signal, limits }: Fetching): { signal: AbortSignal; touch: () => void; end: () => void } {
  const idle = new AbortController();
  const expire = (): void => idle.abort(new DOMException('idle', 'TimeoutError'));
  const timer = setTimeout(expire, limits.idleMs);
  return { signal: AbortSignal.any([signal, idle.signal]), touch: () => void timer.refresh(), end: () => clearTimeout(timer) };
}
