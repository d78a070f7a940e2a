import { CairnError, type Hint, hint, type RunEvent, reset, runEvent } from '@cairn/contract';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { mayPass, type Requester } from './request.ts';
import { delayAfter, wait } from './wait.ts';

/** One message of GET /v1/events. `id` is a cursor over all topics: give it as `lastEventId` to go on after it. */
export type StreamMessage =
  | { type: 'event'; id: string | null; event: RunEvent }
  | { type: 'hint'; id: string | null; hint: Hint }
  | { type: 'reset'; id: string | null; topic: string };

export type ConnectionChange = { state: 'open' } | { state: 'lost'; error: unknown };

export type EventStreamOptions = {
  /** `runs`, `fleet`, `run:<id>`. */
  topics: readonly string[];
  /** Goes on after this message of an earlier stream. */
  lastEventId?: string | undefined;
  signal?: AbortSignal | undefined;
  /** A stream without a byte for this long is dead and is opened again; 30 s unless given. The server's heartbeat is more often. */
  silentMs?: number | undefined;
  /** Told when the stream opens and when it is lost. Hints of the time between are gone: fetch again on `open`. */
  onConnection?: ((change: ConnectionChange) => void) | undefined;
};

const maxDelayMs = 5_000;

/**
 * The event stream as a generator that outlives its connections: it comes back with backoff and Last-Event-ID, so no
 * event is missed and none is given twice. Returns when the signal is aborted; throws CairnError when the server refuses
 * (no valid token, an unknown topic), which trying again would not mend.
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

/** Time for bytes that have arrived to be read. */
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
  /** Waits for the server, for as long as it may be silent. A reader that takes its time over a message is not the server's silence. */
  const heard = async <T>(answer: Promise<T>): Promise<T> => {
    // What came while this process was busy is still to be read when the time is up.
    let watchdog = setTimeout(() => {
      watchdog = setTimeout(() => mine.abort(silence), unreadMs);
    }, silentMs);
    return answer.finally(() => clearTimeout(watchdog));
  };
  try {
    const headers = { accept: 'text/event-stream', ...(cursor === undefined ? {} : { 'last-event-id': cursor }) };
    const response = await heard(requester.open(['v1', 'events'], { topics: topics.join(',') }, headers, both));
    if (response.body === null) throw new CairnError('unavailable', 'The event stream has no body');
    yield 'open';
    const messages: EventSourceMessage[] = [];
    const parser = createParser({ onEvent: (message) => messages.push(message) });
    const decoder = new TextDecoder();
    // A heartbeat comment is bytes too.
    for await (const bytes of chunksOf(response.body, heard, both)) {
      parser.feed(decoder.decode(bytes, { stream: true }));
      yield* messages.splice(0);
    }
  } finally {
    mine.abort();
  }
}

type Heard = <T>(answer: Promise<T>) => Promise<T>;

/** The body's chunks. A broken connection is `unavailable`; reading by `getReader` works in every browser. */
async function* chunksOf(body: ReadableStream<Uint8Array>, heard: Heard, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await heard(reader.read());
      if (done) return;
      yield value;
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw new CairnError('unavailable', 'The event stream broke off', { cause: error });
  } finally {
    // The stream may have failed already; what it failed with was told above.
    await reader.cancel().catch(() => undefined);
  }
}

/** A message of a kind this client does not know is passed over: the server may be newer. */
function parseMessage(message: EventSourceMessage, reader: Pick<Requester, 'readJson'>): StreamMessage | null {
  const id = message.id ?? null;
  switch (message.event) {
    case 'event':
      return { type: 'event', id, event: parseData(runEvent, message, reader) };
    case 'hint':
      return { type: 'hint', id, hint: parseData(hint, message, reader) };
    case 'reset':
      return { type: 'reset', id, topic: parseData(reset, message, reader).topic };
    default:
      return null;
  }
}

function parseData<T>(schema: { parse: (value: unknown) => T }, message: EventSourceMessage, { readJson }: Pick<Requester, 'readJson'>): T {
  try {
    return schema.parse(readJson(message.data));
  } catch (error) {
    throw new CairnError('protocol_mismatch', `A message "${message.event}" of the event stream does not fit this client`, {
      details: { remedy: 'Use a client of the same release as the service.' },
      cause: error,
    });
  }
}
