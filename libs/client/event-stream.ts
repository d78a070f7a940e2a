import { CairnError, type Hint, hint, type RunEvent, reset, runEvent } from '@cairn/contract';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { mayPass, type Requester } from './request.ts';
import { delayAfter, wait } from './wait.ts';

/** One message of GET /v1/events. `id` is a cursor over all topics: pass it as `lastEventId` to continue after it. */
export type StreamMessage =
  | { type: 'event'; id: string | null; event: RunEvent }
  | { type: 'hint'; id: string | null; hint: Hint }
  | { type: 'reset'; id: string | null; topic: string; position?: string | undefined };

export type ConnectionChange = { state: 'open' } | { state: 'lost'; error: unknown };

export type EventStreamOptions = {
  /** `runs`, `fleet`, `run:<id>`. */
  topics: readonly string[];
  /** Continues after this message of an earlier stream. */
  lastEventId?: string | undefined;
  signal?: AbortSignal | undefined;
  /** A stream without a byte for this long is dead and is reopened; 30 s by default. The server's heartbeat is more frequent. */
  silentMs?: number | undefined;
  /** Called when the stream opens and when it is lost. Hints sent in between are gone: fetch again on `open`. */
  onConnection?: ((change: ConnectionChange) => void) | undefined;
};

const maxDelayMs = 5_000;

/**
 * The event stream as a generator that outlives its connections: it reconnects with backoff and Last-Event-ID, so no
 * event is missed or repeated. Returns when the signal is aborted; throws CairnError when the server refuses
 * (no valid token, an unknown topic), where a retry would not help.
 */
export async function* streamEvents(requester: Requester, options: EventStreamOptions): AsyncGenerator<StreamMessage, void, void> {
  const silentMs = options.silentMs ?? 30_000;
  let cursor = options.lastEventId;
  let failures = 0;
  let lost: unknown;
  while (options.signal?.aborted !== true) {
    try {
      const open = openStream(requester, options.topics, cursor, silentMs, options.signal);
      for await (const message of open) {
        failures = 0;
        if (message === 'open') {
          options.onConnection?.({ state: 'open' });
          continue;
        }
        if (message.id) cursor = message.id;
        const parsed = parseMessage(message, requester);
        if (parsed !== null) yield parsed;
      }
      throw new CairnError('unavailable', 'The event stream ended');
    } catch (error) {
      if (options.signal?.aborted) return;
      if (!mayPass(error)) throw error;
      failures += 1;
      lost = error;
      options.onConnection?.({ state: 'lost', error });
    }
    await wait(delayAfter(lost, failures, maxDelayMs), options.signal).catch(() => undefined);
  }
}

/** Of one message; the server's have a few thousand. */
const mostMessageCharacters = 1 << 20;

/** Time to read bytes that have already arrived. */
const unreadMs = 20;

/** One connection: yields `open`, then messages, until it ends, breaks or is silent for too long. */
async function* openStream(
  requester: Requester,
  topics: readonly string[],
  cursor: string | undefined,
  silentMs: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<EventSourceMessage | 'open', void, void> {
  const mine = new AbortController();
  const both = signal === undefined ? mine.signal : AbortSignal.any([signal, mine.signal]);
  const silence = new CairnError('unavailable', `The event stream was silent for ${silentMs / 1000} s`);
  /** Waits for the server, for as long as it may be silent. Time that a reader spends on a message does not count as the server's silence. */
  const withinSilence = async <T>(answer: Promise<T>): Promise<T> => {
    // Bytes that arrived while this process was busy are still unread when the time is up.
    let watchdog = setTimeout(() => {
      watchdog = setTimeout(() => mine.abort(silence), unreadMs);
    }, silentMs);
    return answer.finally(() => clearTimeout(watchdog));
  };
  try {
    const headers = { accept: 'text/event-stream', ...(cursor === undefined ? {} : { 'last-event-id': cursor }) };
    const response = await withinSilence(requester.open(['v1', 'events'], { topics: topics.join(',') }, headers, both));
    if (response.body === null) throw new CairnError('unavailable', 'The event stream has no body');
    yield 'open';
    const messages: EventSourceMessage[] = [];
    const parser = createParser({
      maxBufferSize: mostMessageCharacters,
      onEvent: (message) => messages.push(message),
      onError: ({ type, message }) => {
        if (type !== 'max-buffer-size-exceeded') return;
        throw new CairnError('protocol_mismatch', `A message of the event stream is too long: ${message}`, {
          details: { remedy: 'Check that the address is that of a Cairn API.' },
        });
      },
    });
    const decoder = new TextDecoder();
    // A heartbeat comment is bytes too.
    for await (const bytes of chunksOf(response.body, withinSilence, both)) {
      parser.feed(decoder.decode(bytes, { stream: true }));
      yield* messages.splice(0);
    }
  } finally {
    mine.abort();
  }
}

type WithinSilence = <T>(answer: Promise<T>) => Promise<T>;

/** The body's chunks. A broken connection is `unavailable`; reading by `getReader` works in every browser. */
async function* chunksOf(
  body: ReadableStream<Uint8Array>,
  withinSilence: WithinSilence,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await withinSilence(reader.read());
      if (done) return;
      yield value;
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw new CairnError('unavailable', 'The event stream was interrupted', { cause: error });
  } finally {
    // The stream may have failed already; that error was thrown above.
    await reader.cancel().catch(() => undefined);
  }
}

/** A message of a type that this client does not know is skipped: the server may be newer. */
function parseMessage(message: EventSourceMessage, reader: Pick<Requester, 'readJson'>): StreamMessage | null {
  const id = message.id ?? null;
  switch (message.event) {
    case 'event':
      return { type: 'event', id, event: parseData(runEvent, message, reader) };
    case 'hint':
      return { type: 'hint', id, hint: parseData(hint, message, reader) };
    case 'reset':
      return { type: 'reset', id, ...parseData(reset, message, reader) };
    default:
      return null;
  }
}

function parseData<T>(schema: { parse: (value: unknown) => T }, message: EventSourceMessage, { readJson }: Pick<Requester, 'readJson'>): T {
  try {
    return schema.parse(readJson(message.data));
  } catch (error) {
    throw new CairnError('protocol_mismatch', `A message "${message.event}" of the event stream does not match this client's schema`, {
      details: { remedy: 'Use a client of the same release as the service.' },
      cause: error,
    });
  }
}
