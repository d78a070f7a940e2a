import type { IncomingMessage } from 'node:http';
import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import type { App } from './app.ts';

/**
 * Reads JSON bodies of at most `maxBytes`, which come within `timeoutMs`. One that is larger is refused as soon as that is known, by its Content-Length before
 * a byte is read. Fastify's own limit closes the connection at once, which resets it under the client's feet: it then sees a
 * broken pipe instead of the answer.
 */
export function readJsonBodies(app: App, maxBytes: number, timeoutMs: number): void {
  const parse = app.getDefaultJsonParser('error', 'error');

  app.addHook('onRequest', async (request) => {
    const length = Number(request.headers['content-length'] ?? 0);
    const most = request.routeOptions.config.maxOctets ?? maxBytes;
    if (length > most) throw tooLarge(most, `${length} bytes`);
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: IncomingMessage) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const timer = setTimeout(() => payload.destroy(new Error(`the body did not come within ${timeoutMs / 1000} s`)), timeoutMs);
    try {
      for await (const chunk of payload.iterator({ destroyOnReturn: false })) {
        bytes += chunk.length;
        if (bytes > maxBytes) throw tooLarge(maxBytes, 'more');
        chunks.push(chunk);
      }
    } finally {
      clearTimeout(timer);
    }
    const text = Buffer.concat(chunks).toString('utf8');
    if (text.trim() === '') return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    parse(request, text, (error, value) => {
      if (error !== null) reject(invalidJson(text, error));
      // Fastify gives null to the schemas where there is no body, and a body of null is not that.
      else if (value === null) reject(new CairnError('invalid_request', 'The request body is null; send an object, or no body at all'));
      else resolve(value);
    });
    return promise;
  });
}

export const tooLarge = (maxBytes: number, given: string): CairnError =>
  new CairnError('payload_too_large', `The request body may have ${maxBytes} bytes and has ${given}`, { details: { maxBytes } });

function invalidJson(text: string, cause: Error): CairnError {
  const said = faultOf(text) ?? 'a name such as __proto__ is not taken';
  return new CairnError('invalid_request', `The request body is no valid JSON: ${said}`, {
    details: { part: 'body', errors: [{ path: '', message: said }] },
    cause,
  });
}

/** What is wrong with the text and where: Fastify's own error keeps that to itself. Null for valid JSON. */
function faultOf(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
