import type { FastifyReply } from 'fastify';
import type { App } from './app.ts';

declare module 'fastify' {
  interface FastifyInstance {
    /** Aborted when the server begins to close: streams and held-back answers end then. */
    closing: AbortSignal;
  }
}

export function watchClosing(app: Pick<App, 'decorate' | 'addHook'>): void {
  const closing = new AbortController();
  app.decorate('closing', closing.signal);
  app.addHook('preClose', async () => closing.abort(new Error('the server closes')));
}

/** A signal that is aborted when the answer is done, the client has gone or the server closes. */
export function closedSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort(new Error('the client has gone')));
  return AbortSignal.any([gone.signal, reply.server.closing]);
}
