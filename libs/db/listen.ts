import pg from 'pg';

export type ListenOptions = {
  url: string;
  channels: readonly string[];
  onNotification(channel: string, payload: string): void;
  /** Called after each (re)connect: notifications in between are lost, so read the tables again. */
  onConnect(): void;
  onError(error: Error): void;
  signal: AbortSignal;
};

const retryMs = { first: 200, max: 5_000 };

/**
 * Holds one LISTEN connection (direct, not through a pooler that shares sessions) until the signal aborts, and connects
 * again with backoff when it breaks. Notifications are hints: PostgreSQL drops those sent while there is no connection.
 */
export function listen({ url, channels, onNotification, onConnect, onError, signal }: ListenOptions): void {
  let client: pg.Client | null = null;
  let delayMs = retryMs.first;
  let timer: NodeJS.Timeout | null = null;

  const retry = () => {
    if (signal.aborted || timer) return;
    timer = setTimeout(() => {
      timer = null;
      connect();
    }, delayMs);
    delayMs = Math.min(retryMs.max, delayMs * 2);
  };
  const drop = (which: pg.Client) => {
    if (client !== which) return;
    client = null;
    which.removeAllListeners('notification');
    which.end().catch(onError);
    retry();
  };
  const connect = () => {
    if (signal.aborted) return;
    const next = new pg.Client({
      connectionString: url,
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
      application_name: 'cairn listen',
    });
    client = next;
    next.on('error', (error) => {
      if (!signal.aborted) onError(error);
      drop(next);
    });
    next.on('end', () => drop(next));
    next.on('notification', (message) => onNotification(message.channel, message.payload ?? ''));
    next
      .connect()
      .then(() => next.query(channels.map((channel) => `listen ${pg.escapeIdentifier(channel)}`).join(';')))
      .then(() => {
        delayMs = retryMs.first;
        onConnect();
      })
      .catch((error: unknown) => {
        if (!signal.aborted) onError(error instanceof Error ? error : new Error(String(error)));
        drop(next);
      });
  };
  signal.addEventListener(
    'abort',
    () => {
      if (timer) clearTimeout(timer);
      const last = client;
      client = null;
      last?.end().catch(onError);
    },
    { once: true },
  );
  connect();
}

export const wakeChannel = 'cairn_wake';
export const runChannel = 'cairn_run';
export const hintChannel = 'cairn_hint';
