import type { App } from './app.ts';

/** How long a client may go on sending a body that was answered before its end: time enough to read the answer. */
const lingerMs = 2_000;

/**
 * Cuts the connection of a request that was answered before its body had come, as one that is refused is, unless the rest comes
 * within a moment: nobody reads it any more, and a client that sends it byte by byte would hold the connection without end.
 */
export function cutTrickles(app: Pick<App, 'addHook'>): void {
  app.addHook('onResponse', async ({ raw }) => {
    if (raw.complete) return;
    setTimeout(() => {
      if (!raw.complete) raw.destroy();
    }, lingerMs).unref();
  });
}
