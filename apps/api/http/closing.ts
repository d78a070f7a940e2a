import { CairnError } from '@cairn/contract';
import type { FastifyReply } from 'fastify';
import type { OpenConnections } from '../load/bound-connections.ts';
import type { App } from './bare-app.ts';

declare module 'fastify' {
  interface FastifyInstance {
    /** Aborted when the server begins to close: streams and held-back answers end then. */
    closing: AbortSignal;
  }
}

const idleEveryMs = 50;
/** A connection that brings no request by then is closed too: what it may have sent when the server began to close has arrived. */
const withoutRequestMs = 500;
const idleForMs = 10_000;

/** Lets a server close in good order: what is under way is answered, and nobody keeps it by a connection without a request. */
export function watchClosing(app: Pick<App, 'decorate' | 'addHook' | 'server'>, connections: OpenConnections): void {
  const closing = new AbortController();
  app.decorate('closing', closing.signal);
  app.addHook('preClose', async () => {
    closing.abort(new CairnError('unavailable', 'The service is stopping; try again in a few seconds'));
    // Fastify closes the idle connections once; one whose answer ends later would be kept open by its client.
    const begin = performance.now();
    const timer = setInterval(() => {
      app.server.closeIdleConnections();
      // Node takes a connection that never had a request for a busy one.
      if (performance.now() - begin > withoutRequestMs) for (const socket of connections.withoutRequest()) socket.destroy();
    }, idleEveryMs).unref();
    const stop = () => clearInterval(timer);
    app.server.once('close', stop);
    setTimeout(stop, idleForMs).unref();
  });
}

/**
 * Acts when the answer is done or the client has gone; at once where that has happened already, as while a token was looked up: the event comes
 * once.
 */
export function onceOver({ raw }: FastifyReply, act: () => void): void {
  if (raw.closed) act();
  else raw.once('close', act);
}

/** A signal that is aborted when the answer is done, the client has gone or the server closes. */
export function closedSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  onceOver(reply, () => gone.abort(new CairnError('invalid_request', 'The client hung up before the answer')));
  return AbortSignal.any([gone.signal, reply.server.closing]);
}
