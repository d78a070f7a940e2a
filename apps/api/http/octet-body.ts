import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import type { App } from './app.ts';
import { brokenOff, tooLarge } from './json-body.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route takes a body of octets, of at most so many bytes; its handler gets a stream. */
    maxOctets?: number;
  }
}

/** Hands bodies of octets on as streams, on the routes that take them. A file may take long, but some of it has to come within `idleMs`. */
export function readOctetBodies(app: App, idleMs: number): void {
  app.addContentTypeParser('application/octet-stream', async (request: FastifyRequest, payload: IncomingMessage) => {
    const { maxOctets } = request.routeOptions.config;
    if (maxOctets === undefined) throw new CairnError('invalid_request', 'The body is not read here as octets; send application/json');
    return Readable.from(limited(payload, maxOctets, idleMs), { objectMode: false });
  });
}

/** @throws CairnError `payload_too_large`; what the connection fails with. */
async function* limited(payload: IncomingMessage, maxOctets: number, idleMs: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  const timer = setTimeout(() => payload.destroy(new Error(`nothing of the body came for ${idleMs / 1000} s`)), idleMs);
  try {
    for await (const chunk of payload.iterator({ destroyOnReturn: false })) {
      timer.refresh();
      bytes += chunk.length;
      if (bytes > maxOctets) throw tooLarge(maxOctets, 'more');
      yield chunk;
    }
  } catch (error) {
    throw brokenOff(error);
  } finally {
    clearTimeout(timer);
  }
}
