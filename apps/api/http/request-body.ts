import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import type { App } from './bare-app.ts';

export type JsonBodyLimits = { maxBytes: number; timeoutMs: number; bounds: JsonBounds };

/**
 * Reads JSON bodies of at most `maxBytes`, which come within `timeoutMs`. One that is larger is refused as soon as that is known, by its Content-Length before
 * a byte is read. Fastify's own limit closes the connection at once, which resets it under the client's feet: it then sees a
 * broken pipe instead of the answer.
 */
export function readJsonBodies(app: App, { maxBytes, timeoutMs, bounds }: JsonBodyLimits): void {
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
    } catch (error) {
      throw incompleteBody(error);
    } finally {
      clearTimeout(timer);
    }
    const whole = Buffer.concat(chunks);
    if (!isUtf8(whole)) throw refusedBody('it is not UTF-8');
    const text = whole.toString('utf8');
    if (text.trim() === '') return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    parse(request, text, (error, value) => (error === null ? resolve(value) : reject(refusedBody(jsonFault(text), error))));
    const value = await promise;
    // To Fastify null is a body that is not there.
    if (value === null) throw refusedBody('it is null; an object is expected');
    const fault = structureFault(value, bounds);
    if (fault !== null) throw refusedBody(fault);
    return value;
  });
}

export const tooLarge = (maxBytes: number, given: string): CairnError =>
  new CairnError('payload_too_large', `The request body may have ${maxBytes} bytes and has ${given}`, { details: { maxBytes } });

/** The client hung up, or sent too slowly: nobody here is at fault. */
export function incompleteBody(error: unknown): unknown {
  if (error instanceof CairnError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new CairnError('invalid_request', `The request body did not come whole: ${why}`, { details: { part: 'body' }, cause: error });
}

function refusedBody(said: string, cause?: Error): CairnError {
  return new CairnError('invalid_request', `The request body cannot be taken: ${said}`, {
    details: { part: 'body', errors: [{ path: '', message: said }] },
    cause,
  });
}

/** What is wrong with the text and where: Fastify's own error keeps that to itself. */
function jsonFault(text: string): string {
  try {
    JSON.parse(text);
    return 'a name such as __proto__ is not allowed';
  } catch (error) {
    return `it is not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}

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
    throw incompleteBody(error);
  } finally {
    clearTimeout(timer);
  }
}

/** How large a JSON body may be in its structure; its bytes are limited before it is parsed. */
export type JsonBounds = {
  /** Objects, arrays, texts, numbers and the like in all of it. */
  values: number;
  /** Objects and arrays inside each other. */
  depth: number;
};

/**
 * What is too large in the structure of a parsed body, or null. It is looked at before the schema is: a schema names every fault, and of a
 * megabyte of short keys that takes seconds.
 */
export function structureFault(body: unknown, { values, depth }: JsonBounds): string | null {
  let count = 1;
  let level: object[] = isParent(body) ? [body] : [];
  for (let deep = 1; level.length > 0; deep += 1) {
    if (deep > depth) return `its objects and arrays are inside each other more than ${depth} deep`;
    const next: object[] = [];
    for (const parent of level) {
      const children: unknown[] = Array.isArray(parent) ? parent : Object.values(parent);
      count += children.length;
      if (count > values) return `it has more than ${values} values`;
      for (const child of children) if (isParent(child)) next.push(child);
    }
    level = next;
  }
  return null;
}

const isParent = (value: unknown): value is object => typeof value === 'object' && value !== null;
