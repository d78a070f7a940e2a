import { CairnError, isCairnError } from '@cairn/contract';
import { backoff, sleep } from '@cairn/runtime';
import { parseS3Location } from '../s3-bucket.ts';
import { s3Source } from './s3-source.ts';
import type { ExpectedFile, Opened, ReadOptions, Source, SourceFile, SourceRequests } from './source.ts';
import { webSource } from './web-source.ts';

type BreakerLimits = {
  /** Before the first probe; doubles up to `longestPauseMs`. */
  firstPauseMs: number;
  longestPauseMs: number;
  /** How long callers wait for a source that has stopped answering. */
  patienceMs: number;
};

/** The source did not come back: what it last answered, since when, and how often it was tried. */
class BrokenSource extends Error {
  constructor(cause: unknown, seconds: number, tries: number) {
    super(`no request has succeeded for ${Math.round(seconds)} s (${tries} tries)`, { cause });
    this.name = 'BrokenSource';
  }
}

/** The right to ask during an outage, which one caller at a time has. */
type Probe = { over: Promise<void>; end: () => void };

type Breaker = {
  /**
   * Waits until the source may be asked. The caller then reports the outcome: `succeeded`, or `failed` or `left` with the probe.
   *
   * @returns null while the source works
   * @throws BrokenSource when patience ended while another caller was asking; the signal's reason
   */
  enter(signal: AbortSignal): Promise<Probe | null>;
  succeeded(): void;
  /** The caller gives up without a result: another may probe. */
  left(probe: Probe | null): void;
  /** @throws BrokenSource when patience is exhausted */
  failed(cause: unknown, probe: Probe | null): void;
  /** Requests that have succeeded so far. */
  successes(): number;
};

/**
 * One circuit breaker for everything that reads a source. While requests fail one caller at a time asks again, after growing pauses, and all
 * others wait for its result: an outage costs a few requests instead of the retries of every read, and nobody gives up before patience ends.
 */
function createBreaker({ firstPauseMs, longestPauseMs, patienceMs }: BreakerLimits, now: () => number = Date.now): Breaker {
  let outage: { since: number; failures: number; nextAt: number } | null = null;
  let probing: Probe | null = null;
  let broken: BrokenSource | null = null;
  let successes = 0;

  /** Of the failures of an outage only those of probes end one: the requests before it may fail much later. */
  function left(probe: Probe | null): void {
    if (probe === null || probe !== probing) return;
    probing = null;
    probe.end();
  }

  async function begin(until: number, signal: AbortSignal): Promise<Probe> {
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const probe = { over, end };
    probing = probe;
    try {
      await sleep(Math.max(0, until - now()), signal);
      return probe;
    } catch (error) {
      left(probe);
      throw error;
    }
  }

  return {
    successes: () => successes,
    left,
    async enter(signal) {
      signal.throwIfAborted();
      while (outage !== null) {
        if (probing === null) return begin(outage.nextAt, signal);
        await untilOver(probing, signal);
        signal.throwIfAborted();
        if (broken !== null) throw broken;
      }
      return null;
    },
    succeeded() {
      successes += 1;
      outage = null;
      broken = null;
      left(probing);
    },
    failed(cause, probe) {
      if (outage === null || probe !== null) {
        const { since, failures } = outage ?? { since: now(), failures: 0 };
        const pause = backoff({ attempt: failures, baseMs: firstPauseMs, maxMs: longestPauseMs });
        outage = { since, failures: failures + 1, nextAt: now() + pause };
        if (now() - since > patienceMs) broken = new BrokenSource(cause, (now() - since) / 1000, outage.failures);
      }
      left(probe);
      if (probe !== null && broken !== null) throw broken;
    },
  };
}

async function untilOver({ over }: Probe, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<void>();
  const onAbort = (): void => aborted.resolve();
  signal.addEventListener('abort', onAbort, { once: true });
  await Promise.race([over, aborted.promise]);
  signal.removeEventListener('abort', onAbort);
}

export type SourceLimits = BreakerLimits & {
  /** A response without a byte for this long is given up and requested again. */
  idleMs: number;
  /** Requests for one file that fail in turn, while others succeed, before it is given up. */
  mostTries: number;
};

const defaultSourceLimits: SourceLimits = {
  firstPauseMs: 200,
  longestPauseMs: 30_000,
  // A rollout of a storage server takes minutes; longer outages are left to the retries of the step.
  patienceMs: 5 * 60_000,
  idleMs: 15_000,
  mostTries: 8,
};

/** More tars than are read at the same time. */
const mostEtags = 1000;

/** Reads of a source that survive its faults: resumed at the byte reached, behind one circuit breaker. */
function steadySource(requests: SourceRequests, limits: SourceLimits): Source {
  const breaker = createBreaker(limits);
  const { url } = requests;
  const never = new AbortController().signal;

  async function head(path: string, signal = never): Promise<SourceFile | null> {
    const tries = attempts(path, signal);
    const found = await tries.run((one) => requests.head(path, one));
    tries.advanced();
    return found;
  }

  /** The ETags of the files that were read last: a tar is read in many ranges, all of which must be of the same file. */
  const etags = new Map<string, string>();
  function keepEtag(path: string, etag: string | null): void {
    if (etag === null) return;
    etags.delete(path);
    etags.set(path, etag);
    for (const [oldest] of etags) if (etags.size > mostEtags) etags.delete(oldest);
  }

  async function* read(path: string, { start = 0, end, expected, signal = never }: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    const tries = attempts(path, signal);
    let known: ExpectedFile | undefined = expected && { etag: etags.get(path) ?? null, ...expected };
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
      if (expected !== undefined) keepEtag(path, opened.file.etag);
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

/**
 * Opens a source by its URL: `s3://bucket/prefix` with what `parseS3Location` takes, or `https://host/folder`. Sends nothing yet.
 *
 * @throws CairnError `invalid_configuration` for an invalid location
 */
export function openSource(url: string, limits: Partial<SourceLimits> = {}): Source {
  const all = { ...defaultSourceLimits, ...limits };
  const parsed = new URL(url);
  return steadySource(parsed.protocol === 's3:' ? s3Source(parseS3Location(parsed), all) : webSource(parsed), all);
}
