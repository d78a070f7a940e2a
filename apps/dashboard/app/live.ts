import { type CairnClient, messageOf } from '@cairn/client';
import { hint, isCairnError, reset, runEvent } from '@cairn/contract';
import { z } from 'zod';

/** Whether answers are kept up to date; `since` is when that began, in milliseconds since 1970. */
const liveStatus = z.object({ state: z.enum(['connecting', 'open', 'lost']), since: z.number(), why: z.string().optional() });
export type LiveStatus = z.infer<typeof liveStatus>;

const streamMessage = z.discriminatedUnion('type', [
  z.object({ type: z.literal('event'), event: runEvent }),
  z.object({ type: z.literal('hint'), hint }),
  z.object({ type: z.literal('reset'), ...reset.shape }),
]);

/** What tabs send each other. Parsed, because another tab may show an older release. */
const tabMessage = z.discriminatedUnion('type', [
  /** From the tab with the stream: */
  z.object({ type: z.literal('message'), message: streamMessage }),
  /** These topics are followed from now on: what was read before may be out of date. */
  z.object({ type: z.literal('opened'), topics: z.array(z.string()) }),
  z.object({ type: z.literal('status'), status: liveStatus }),
  /** The session began, ended, or is someone else's now: from any tab. */
  z.object({ type: z.literal('session') }),
  /** From any tab: its topics changed; and a new tab asks for the status. */
  z.object({ type: z.literal('topics') }),
  z.object({ type: z.literal('ask') }),
]);
type TabMessage = z.infer<typeof tabMessage>;

export type LiveMessage = Exclude<TabMessage, { type: 'status' | 'topics' | 'ask' }>;

export type Live = {
  /** Follows topics of GET /v1/events until the returned function is called. */
  follow: (topics: readonly string[]) => () => void;
  status: () => LiveStatus;
  onStatus: (listener: () => void) => () => void;
  /** Notifies the other tabs that someone signed in or out here. */
  announceSession: () => void;
  /** Takes part in the shared stream until the returned function is called: for as long as someone is signed in. */
  start: () => () => void;
};

const streamLock = 'cairn-events';
const topicLock = 'cairn-topic:';
/** The most that GET /v1/events takes. */
const maxTopics = 50;

/**
 * One event stream a browser, whatever the number of its tabs: browsers open at most six connections to a server, and each stream holds
 * one. The tab that holds the lock `cairn-events` has the stream and passes on to the others what arrives. Each followed topic is a shared lock
 * too, so that the browser itself forgets the topics of a closed tab. Without locks (they need https or localhost), each tab has a stream.
 *
 * @param onMessage called in every tab
 */
export function createLive(client: CairnClient, onMessage: (message: LiveMessage) => void): Live {
  const locks: LockManager | undefined = navigator.locks;
  const channel = locks === undefined ? undefined : new BroadcastChannel('cairn-live');
  const followed = new Map<string, { count: number; release: () => void }>();
  const listeners = new Set<() => void>();
  let status: LiveStatus = { state: 'connecting', since: Date.now() };
  let leader: { reconsider: () => void } | null = null;

  const setStatus = (next: LiveStatus): void => {
    status = next;
    for (const listener of listeners) listener();
  };
  const receive = (message: TabMessage): void => {
    if (message.type === 'status') setStatus(message.status);
    else if (message.type === 'topics') leader?.reconsider();
    else if (message.type === 'ask') leader && channel?.postMessage({ type: 'status', status } satisfies TabMessage);
    else onMessage(message);
  };
  const tell = (message: TabMessage): void => {
    channel?.postMessage(message);
    receive(message);
  };
  channel?.addEventListener('message', ({ data }) => {
    const parsed = tabMessage.safeParse(data);
    if (parsed.success) receive(parsed.data);
  });

  /** The topics that any tab follows: lists first, then as many runs as the server takes. */
  const wantedTopics = async (): Promise<string[]> => {
    const names = locks === undefined ? [] : ((await locks.query()).held ?? []).flatMap(({ name }) => name ?? []);
    const held = names.filter((name) => name.startsWith(topicLock)).map((name) => name.slice(topicLock.length));
    const topics = [...new Set([...held, ...followed.keys()])];
    const isRun = (topic: string): boolean => topic.startsWith('run:');
    return [...topics.filter((topic) => !isRun(topic)), ...topics.filter(isRun)].slice(0, maxTopics);
  };

  /** Keeps a stream over the wanted topics until `signal` is aborted. */
  async function lead(signal: AbortSignal): Promise<void> {
    let covered: readonly string[] = [];
    let cursor: string | undefined;
    let current: AbortController | undefined;
    let ended: (error: unknown) => void = () => undefined;
    const failure = new Promise<never>((_, reject) => {
      ended = reject;
    });

    /** Opens a stream, and ends the previous one when it is open, so that nothing is missed in between. */
    const connect = async (topics: readonly string[]): Promise<void> => {
      const previous = current;
      const mine = new AbortController();
      const added = topics.filter((topic) => !covered.includes(topic));
      let isFirst = true;
      current = mine;
      covered = topics;
      const stream = client.events({
        topics,
        lastEventId: cursor,
        signal: AbortSignal.any([signal, mine.signal]),
        onConnection: (change) => {
          if (change.state === 'lost') {
            if (status.state !== 'lost')
              tell({ type: 'status', status: { state: 'lost', since: Date.now(), why: messageOf(change.error) } });
            return;
          }
          previous?.abort();
          tell({ type: 'opened', topics: isFirst && status.state !== 'lost' ? added : [...topics] });
          isFirst = false;
          if (status.state !== 'open') tell({ type: 'status', status: { state: 'open', since: Date.now() } });
        },
      });
      for await (const message of stream) {
        cursor = message.id ?? cursor;
        tell({ type: 'message', message });
      }
    };
    const reconsider = async (): Promise<void> => {
      const wanted = await wantedTopics();
      // A topic that nobody follows any more is dropped with the next change.
      if (!signal.aborted && wanted.some((topic) => !covered.includes(topic))) await connect(wanted);
    };
    const restart = (): void => void reconsider().catch(ended);

    tell({ type: 'status', status: { state: 'connecting', since: Date.now() } });
    leader = { reconsider: restart };
    restart();
    try {
      await Promise.race([failure, new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))]);
    } catch (error) {
      if (isCairnError(error, 'unauthenticated')) tell({ type: 'session' });
      else tell({ type: 'status', status: { state: 'lost', since: Date.now(), why: messageOf(error) } });
    } finally {
      leader = null;
      current?.abort();
    }
  }

  function followOne(topic: string): void {
    const known = followed.get(topic);
    if (known !== undefined) {
      known.count += 1;
      return;
    }
    const held = Promise.withResolvers<void>();
    followed.set(topic, { count: 1, release: held.resolve });
    const announce = (): Promise<void> => {
      tell({ type: 'topics' });
      return held.promise;
    };
    if (locks === undefined) void announce();
    else void locks.request(topicLock + topic, { mode: 'shared' }, announce);
  }

  function unfollowOne(topic: string): void {
    const known = followed.get(topic);
    if (known === undefined) return;
    known.count -= 1;
    if (known.count > 0) return;
    followed.delete(topic);
    known.release();
  }

  return {
    follow(topics) {
      for (const topic of topics) followOne(topic);
      return () => {
        for (const topic of topics) unfollowOne(topic);
      };
    },
    status: () => status,
    onStatus(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    announceSession: () => channel?.postMessage({ type: 'session' } satisfies TabMessage),
    start() {
      const stop = new AbortController();
      channel?.postMessage({ type: 'ask' } satisfies TabMessage);
      if (locks === undefined) void lead(stop.signal);
      else {
        // Aborting a request that still waits rejects it; that is how it ends.
        locks.request(streamLock, { signal: stop.signal }, () => lead(stop.signal)).catch(() => undefined);
      }
      return () => stop.abort();
    },
  };
}
