import { CairnError } from '@cairn/contract';
import type { FastifyReply } from 'fastify';
import type { OpenConnections } from '../load/bound-connections.ts';
import type { App } from './bare-app.ts';

declare module 'fastify' {
  interface FastifyInstance {
    /** Aborted when the server starts closing: streams and long polls end then. */
    closing: AbortSignal;
  }
}

const idleEveryMs = 50;
/** A connection without a request by then is closed too: anything sent before the server started closing has arrived. */
const withoutRequestMs = 500;
const idleForMs = 10_000;

/** Closes a server gracefully: requests in progress are answered, and connections without a request do not keep it open. */
export function watchClosing(app: Pick<App, 'decorate' | 'addHook' | 'server'>, connections: OpenConnections): void {
  const closing = new AbortController();
  app.decorate('closing', closing.signal);
  app.addHook('preClose', async () => {
    closing.abort(new CairnError('unavailable', 'The service is stopping; try again in a few seconds'));
    // Fastify closes idle connections once; one whose answer ends later would stay open as long as its client wants.
    const begin = performance.now();
    const timer = setInterval(() => {
      app.server.closeIdleConnections();
      // Node counts a connection that never had a request as busy.
      if (performance.now() - begin > withoutRequestMs) for (const socket of connections.withoutRequest()) socket.destroy();
    }, idleEveryMs).unref();
    const stop = () => clearInterval(timer);
    app.server.once('close', stop);
    setTimeout(stop, idleForMs).unref();
  });
}

/**
 * Runs `act` when the response has ended or the client has disconnected; at once if that already happened, for example while a token was
 * looked up, because the event is emitted only once.
 */
export function onceOver({ raw }: FastifyReply, act: () => void): void {
  if (raw.closed) act();
  else raw.once('close', act);
}

/** A signal that is aborted when the response has ended, the client has disconnected or the server closes. */
export function closedSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  onceOver(reply, () => gone.abort(new CairnError('invalid_request', 'The client disconnected before the response')));
  return AbortSignal.any([gone.signal, reply.server.closing]);
}
