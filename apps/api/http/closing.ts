import type { FastifyReply } from 'fastify';
import type { App } from './app.ts';

declare module 'fastify' {
  interface FastifyInstance {
    /** Aborted when the server begins to close: streams and held-back answers end then. */
    closing: AbortSignal;
  }
}

const idleEveryMs = 50;
const idleForMs = 10_000;

/** Lets a server close in good order: what is under way is answered, and nobody keeps it by a connection without a request. */
export function watchClosing(app: Pick<App, 'decorate' | 'addHook' | 'server'>): void {
  const closing = new AbortController();
  app.decorate('closing', closing.signal);
  app.addHook('preClose', async () => {
    closing.abort(new Error('the server closes'));
    // Fastify closes the idle connections once; one whose answer ends later would be kept open by its client.
    const timer = setInterval(() => app.server.closeIdleConnections(), idleEveryMs).unref();
    const stop = () => clearInterval(timer);
    app.server.once('close', stop);
    setTimeout(stop, idleForMs).unref();
  });
}

/** A signal that is aborted when the answer is done, the client has gone or the server closes. */
export function closedSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort(new Error('the client has gone')));
  return AbortSignal.any([gone.signal, reply.server.closing]);
}
