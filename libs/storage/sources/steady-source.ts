import { CairnError, isCairnError } from '@cairn/contract';
import { backoff, sleep } from '@cairn/runtime';
import { type BreakerLimits, BrokenSource, createBreaker, type Probe } from './breaker.ts';
import type { ExpectedFile, Opened, ReadOptions, Source, SourceFile, SourceRequests } from './source.ts';

export type SourceLimits = BreakerLimits & {
  /** A response without a byte for this long is given up and requested again. */
  idleMs: number;
  /** Requests for one file that fail in turn, while others succeed, before it is given up. */
  mostTries: number;
};

export const defaultSourceLimits: SourceLimits = {
  firstPauseMs: 200,
  longestPauseMs: 30_000,
  // A rollout of a storage server takes minutes; longer outages are left to the retries of the step.
  patienceMs: 5 * 60_000,
  idleMs: 15_000,
  mostTries: 8,
};

/** Reads of a source that survive its faults: resumed at the byte reached, behind one circuit breaker. */
export function steadySource(requests: SourceRequests, limits: SourceLimits): Source {
  const breaker = createBreaker(limits);
  const { url } = requests;
  const never = new AbortController().signal;

  async function head(path: string, signal = never): Promise<SourceFile | null> {
    const tries = attempts(path, signal);
    const found = await tries.run((one) => requests.head(path, one));
    tries.advanced();
    return found;
  }

  async function* read(path: string, { start = 0, end, expected, signal = never }: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    const tries = attempts(path, signal);
    let known: ExpectedFile | undefined = expected;
    let until = end;
    if (until === undefined) {
      const found = await head(path, signal);
      if (found === null) throw missing(path);
      requireSame(found, known);
      known = found;
      until = found.bytes;
    }
    for (let position = start; position < until; ) {
      const from = position;
      const opened: Opened = await tries.run(async (one) => {
        const answer = await requests.open(path, { start: from, end: until }, one);
        if (answer === null) throw missing(path);
        try {
          requireSame(answer.file, known);
        } catch (error) {
          answer.body.destroy();
          throw error;
        }
        return answer;
      });
      known = { ...opened.file };
      const chunks = (opened.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await withinIdle(chunks.next(), limits.idleMs, signal);
          if (next.done) break;
          const chunk = next.value.subarray(0, until - position);
          position += chunk.length;
          tries.advanced();
          yield chunk;
        }
        if (position < until) throw new Error(`the answer ended ${until - position} bytes early`);
      } catch (error) {
        if (signal.aborted) tries.left();
        signal.throwIfAborted();
        await tries.failed(error);
      } finally {
        opened.body.destroy();
      }
    }
  }

  /** The tries of one operation. */
  function attempts(path: string, signal: AbortSignal) {
    // Tries in turn without progress, between which others succeeded: then the fault is not the source's.
    let alone = 0;
    let successesBefore = breaker.successes();
    let hasRenewed = false;
    let probe: Probe | null = null;

    /** Returns if the operation may be tried again. */
    async function failed(cause: unknown): Promise<void> {
      const { error, mayPass } = requests.faultOf(cause, path);
      if (!mayPass) {
        // It answered: whatever it said, it is not away.
        breaker.succeeded();
        // A role or a file may have newer credentials than those that have just expired.
        if (!isCairnError(error, 'source_denied') || hasRenewed) throw error;
        hasRenewed = true;
        requests.renew();
        return;
      }
      if (breaker.successes() !== successesBefore) alone += 1;
      successesBefore = breaker.successes();
      if (alone >= limits.mostTries) throw givenUp(path, `${alone} tries without progress, while other files can be read`, error);
      try {
        breaker.failed(error, probe);
      } catch (broken) {
        throw broken instanceof BrokenSource ? givenUp(path, broken.message, error) : broken;
      }
      if (alone > 1) await sleep(backoff({ attempt: alone, baseMs: limits.firstPauseMs, maxMs: limits.longestPauseMs }), signal);
    }

    async function enter(): Promise<void> {
      try {
        probe = await breaker.enter(signal);
      } catch (error) {
        throw error instanceof BrokenSource ? givenUp(path, error.message, error.cause) : error;
      }
    }

    return {
      enter,
      failed,
      left: () => breaker.left(probe),
      /** Bytes came. */
      advanced(): void {
        breaker.succeeded();
        alone = 0;
        successesBefore = breaker.successes();
        hasRenewed = false;
      },
      /** Sends a request until it is answered. */
      async run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
        for (;;) {
          await enter();
          // The signal must not fire later: it would end the body of the answer.
          const late = new AbortController();
          const timer = setTimeout(() => late.abort(), limits.idleMs);
          try {
            return await work(AbortSignal.any([signal, late.signal]));
          } catch (error) {
            if (signal.aborted) breaker.left(probe);
            signal.throwIfAborted();
            await failed(late.signal.aborted ? new Error(`no answer within ${limits.idleMs / 1000} s`, { cause: error }) : error);
          } finally {
            clearTimeout(timer);
          }
        }
      },
    };
  }

  function requireSame(found: SourceFile, expected: ExpectedFile | undefined): void {
    if (expected === undefined) return;
    const { bytes, changedMs, etag } = expected;
    const isSame = found.bytes === bytes && found.changedMs === changedMs && (!etag || !found.etag || found.etag === etag);
    if (isSame) return;
    const message = `${url}/${found.path} is ${describe(found)}; expected ${describe({ ...expected, path: found.path })}`;
    throw new CairnError('dataset_changed', message, { details: { file: `${url}/${found.path}`, expected, found } });
  }

  const missing = (path: string): CairnError =>
    new CairnError('missing_file', `${url}/${path} does not exist: put it there`, { details: { file: `${url}/${path}` } });

  const givenUp = (path: string, why: string, cause: unknown): CairnError =>
    new CairnError(
      'storage_failed',
      `${url}/${path} cannot be read: ${why}; the last answer: ${cause instanceof Error ? cause.message : cause}`,
      {
        details: { file: `${url}/${path}` },
        cause,
      },
    );

  const { list } = requests;
  return {
    url,
    head,
    read,
    async readBytes(path, options) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of read(path, options)) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    list: list === null ? null : (folder, signal = never) => listed(list, folder, signal),
    close: () => requests.close(),
  };

  /** A listing is repeated from its start: pages that were passed on are skipped. */
  async function* listed(pages: NonNullable<SourceRequests['list']>, folder: string, signal: AbortSignal) {
    const tries = attempts(folder, signal);
    for (let passed = 0; ; ) {
      try {
        await tries.enter();
        let number = 0;
        for await (const page of pages(folder, signal)) {
          tries.advanced();
          number += 1;
          if (number <= passed) continue;
          passed = number;
          yield page;
        }
        return;
      } catch (error) {
        if (signal.aborted) tries.left();
        signal.throwIfAborted();
        await tries.failed(error);
      }
    }
  }
}

function describe({ bytes, changedMs, etag }: ExpectedFile & { path: string }): string {
  const tag = etag === undefined || etag === null ? '' : `, ETag ${etag}`;
  return `${bytes} bytes, changed at ${new Date(changedMs).toISOString()}${tag}`;
}

/** The next chunk, or an error when none comes in time. */
async function withinIdle<T>(next: Promise<T>, idleMs: number, signal: AbortSignal): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no data for ${idleMs / 1000} s`)), idleMs);
  const onAbort = (): void => late.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  // After a timeout nobody reads it any more.
  next.catch(() => undefined);
  try {
    return await Promise.race([next, late.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
