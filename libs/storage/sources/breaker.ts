import { backoff, sleep } from '@cairn/runtime';

export type BreakerLimits = {
  /** Before the first probe; doubles up to `longestPauseMs`. */
  firstPauseMs: number;
  longestPauseMs: number;
  /** How long callers wait for a source that has stopped answering. */
  patienceMs: number;
};

/** The source did not come back: what it last answered, since when, and how often it was tried. */
export class BrokenSource extends Error {
  constructor(cause: unknown, seconds: number, tries: number) {
    super(`no request has succeeded for ${Math.round(seconds)} s (${tries} tries)`, { cause });
    this.name = 'BrokenSource';
  }
}

/** The right to ask during an outage, which one caller at a time has. */
export type Probe = { over: Promise<void>; end: () => void };

export type Breaker = {
  /**
   * Waits until the source may be asked. The caller then reports what became of it: `succeeded`, or `failed` or `left` with the probe.
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
export function createBreaker({ firstPauseMs, longestPauseMs, patienceMs }: BreakerLimits, now: () => number = Date.now): Breaker {
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
