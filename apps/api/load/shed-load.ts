import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import type { App } from '../http/bare-app.ts';
import { onceOver } from '../http/closing.ts';
import { type LoadClass, type LoadLimits, maxPerToken } from './load-limits.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The load class of the route's requests; defaults to `read` for GET and `command` for the rest. `none`: not limited. */
    load?: LoadClass | 'none';
  }
  interface FastifyRequest {
    place: Place | null;
  }
}

/** A place behind a gate, kept until its last holder releases it. */
type Place = { hold(): void; letGo(): void };

/**
 * Admits a request only if its class has a free place ({@link createLoadLimits}). The place is taken after the body has arrived, since a
 * slow sender must not hold one, and before the handler starts. It is kept until both the response and the handler have ended, because the
 * work of a disconnected client continues.
 */
export function shedLoad(app: App, { gates }: LoadLimits, classOf: (request: FastifyRequest) => LoadClass | 'none'): void {
  app.decorateRequest('place', null);
  const held = new Map<string, number>();
  app.addHook('preValidation', async (request, reply) => {
    const { load = classOf(request) } = request.routeOptions.config;
    if (load === 'none') return;
    const gone = new AbortController();
    onceOver(reply, () => gone.abort(new CairnError('rate_limited', 'The client disconnected while waiting')));
    const giveBack = takeShare(held, load, request.caller?.tokenId);
    const leave = await gates[load].enter(gone.signal).catch((error: unknown) => {
      giveBack();
      throw error;
    });
    const place = placeOf(() => {
      leave();
      giveBack();
    });
    request.place = place;
    onceOver(reply, () => place.letGo());
  });
  app.addHook('onRoute', (route) => {
    const { handler } = route;
    route.handler = function held(request, reply) {
      request.place?.hold();
      const letGo = () => request.place?.letGo();
      let answer: unknown;
      try {
        answer = handler.call(this, request, reply);
      } catch (error) {
        letGo();
        throw error;
      }
      if (answer instanceof Promise) return answer.finally(letGo);
      letGo();
      return answer;
    };
  });
}

/**
 * Counts a place of a token, if its class has a limit per token. Returns a function that releases it.
 *
 * @throws CairnError `rate_limited`
 */
function takeShare(held: Map<string, number>, load: LoadClass, tokenId: string | undefined): () => void {
  const most = maxPerToken[load];
  if (most === undefined || tokenId === undefined) return () => undefined;
  const key = `${load} ${tokenId}`;
  const count = held.get(key) ?? 0;
  if (count >= most)
    throw new CairnError('rate_limited', `The token has ${most} of these open, the maximum; end one of them first`, {
      details: { retryAfterSeconds: 1 },
    });
  held.set(key, count + 1);
  return () => {
    const left = (held.get(key) ?? 1) - 1;
    if (left > 0) held.set(key, left);
    else held.delete(key);
  };
}

function placeOf(leave: () => void): Place {
  let holders = 1;
  return {
    hold: () => {
      holders += 1;
    },
    letGo: () => {
      holders -= 1;
      if (holders === 0) leave();
    },
  };
}
