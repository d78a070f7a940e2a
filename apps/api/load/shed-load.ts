import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import type { App } from '../http/bare-app.ts';
import { onceOver } from '../http/closing.ts';
import { type LoadClass, type LoadLimits, maxPerToken } from './load-limits.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Which room the route's requests take; without it `read` for GET, `command` for the rest. `none`: it costs nothing. */
    load?: LoadClass | 'none';
  }
  interface FastifyRequest {
    place: Place | null;
  }
}

/** A place behind a gate, kept until the last of those who hold it lets go. */
type Place = { hold(): void; letGo(): void };

/**
 * Lets a request in only where its class has room ({@link createLoadLimits}). The place is taken when its body has come, as who
 * sends slowly must not hold one, and before its handler begins. It is kept until both the answer has ended and the handler has:
 * a client that goes away leaves its work behind.
 */
export function shedLoad(app: App, { gates }: LoadLimits, classOf: (request: FastifyRequest) => LoadClass | 'none'): void {
  app.decorateRequest('place', null);
  const held = new Map<string, number>();
  app.addHook('preValidation', async (request, reply) => {
    const { load = classOf(request) } = request.routeOptions.config;
    if (load === 'none') return;
    const gone = new AbortController();
    onceOver(reply, () => gone.abort(new CairnError('rate_limited', 'The client went before it was its turn')));
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
 * Counts a place for the token that asks for one, where its class has a most. Answers how to count it no more.
 *
 * @throws CairnError `rate_limited`
 */
function takeShare(held: Map<string, number>, load: LoadClass, tokenId: string | undefined): () => void {
  const most = maxPerToken[load];
  if (most === undefined || tokenId === undefined) return () => undefined;
  const key = `${load} ${tokenId}`;
  const count = held.get(key) ?? 0;
  if (count >= most)
    throw new CairnError('rate_limited', `The token has ${most} of these open, as many as one may have; end one of them first`, {
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
