import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import type { FastifyRequest } from 'fastify';
import type { App } from './bare-app.ts';

export type JsonBodyLimits = { maxBytes: number; timeoutMs: number; bounds: JsonBounds };

/**
 * Reads JSON bodies of at most `maxBytes` that arrive within `timeoutMs`. A larger one is rejected as soon as that is known, by its
 * Content-Length before a byte is read. Fastify's own limit closes the connection at once, so that the client sees a broken pipe instead of
 * the answer.
 */
export function readJsonBodies(app: App, { maxBytes, timeoutMs, bounds }: JsonBodyLimits): void {
  const parse = app.getDefaultJsonParser('error', 'error');

  app.addHook('onRequest', async (request) => {
    const length = Number(request.headers['content-length'] ?? 0);
    const { maxOctets, rawBytes } = request.routeOptions.config;
    const most = maxOctets ?? rawBytes ?? maxBytes;
    if (length > most) throw tooLarge(most, `${length} bytes`);
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: IncomingMessage) => {
    const { rawBytes } = request.routeOptions.config;
    if (rawBytes !== undefined)
      return readWhole(payload, { maxBytes: rawBytes, timeoutMs: Math.min(rawTimeoutMs, timeoutMs), onBytes: request.onBodyBytes });
    const whole = await readWhole(payload, { maxBytes, timeoutMs });
    const text = textOf(whole);
    if (text.trim() === '') return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    parse(request, text, (error, value) => (error === null ? resolve(value) : reject(invalidBody(jsonFault(text), error))));
    const value = await promise;
    // Fastify treats null as a missing body.
    if (value === null) throw invalidBody('it is null; expected an object');
    const fault = structureFault(value, bounds);
    if (fault !== null) throw invalidBody(fault);
    return value;
  });
}

/** Senders of signed bodies give up after ten seconds, GitHub for one. */
const rawTimeoutMs = 10_000;

async function readWhole(
  payload: IncomingMessage,
  { maxBytes, timeoutMs, onBytes }: Pick<JsonBodyLimits, 'maxBytes' | 'timeoutMs'> & { onBytes?: FastifyRequest['onBodyBytes'] },
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => payload.destroy(new Error(`the body did not arrive within ${timeoutMs / 1000} s`)), timeoutMs);
  try {
    for await (const chunk of payload.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw tooLarge(maxBytes, 'more');
      onBytes?.(chunk.length);
      chunks.push(chunk);
    }
  } catch (error) {
    throw incompleteBody(error);
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks);
}

function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw invalidBody('it is not UTF-8');
  return bytes.toString('utf8');
}

export const tooLarge = (maxBytes: number, given: string): CairnError =>
  new CairnError('payload_too_large', `The request body has ${given}; the maximum is ${maxBytes} bytes`, { details: { maxBytes } });

/** The client disconnected or sent too slowly: not an error of the server. */
export function incompleteBody(error: unknown): unknown {
  if (error instanceof CairnError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new CairnError('invalid_request', `The request body is incomplete: ${why}`, { details: { part: 'body' }, cause: error });
}

function invalidBody(reason: string, cause?: Error): CairnError {
  return new CairnError('invalid_request', `Invalid request body: ${reason}`, {
    details: { part: 'body', errors: [{ path: '', message: reason }] },
    cause,
  });
}

/** What is wrong with the JSON and where, which Fastify's own error does not say. */
function jsonFault(text: string): string {
  try {
    JSON.parse(text);
    return 'a name such as __proto__ is not allowed';
  } catch (error) {
    return `it is not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Called with the bytes of each piece of a raw body as it arrives; what it throws is the answer. */
    onBodyBytes?: ((bytes: number) => void) | undefined;
  }
  interface FastifyContextConfig {
    /** The route accepts a binary body of at most this many bytes; its handler gets a stream. */
    maxOctets?: number;
    /** The handler gets the bytes of a JSON body of at most this many, as a signature covers them. */
    rawBytes?: number;
  }
}

/** Passes binary bodies on as streams, on the routes that accept them. A file may take long, but data must arrive within each `idleMs`. */
export function readOctetBodies(app: App, idleMs: number): void {
  app.addContentTypeParser('application/octet-stream', async (request: FastifyRequest, payload: IncomingMessage) => {
    const { maxOctets } = request.routeOptions.config;
    if (maxOctets === undefined) throw new CairnError('invalid_request', 'This route accepts JSON only; send application/json');
    return Readable.from(limited(payload, maxOctets, idleMs), { objectMode: false });
  });
}

/** @throws CairnError `payload_too_large`; the error of the connection */
async function* limited(payload: IncomingMessage, maxOctets: number, idleMs: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  const timer = setTimeout(() => payload.destroy(new Error(`no data arrived for ${idleMs / 1000} s`)), idleMs);
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

/** Structural limits of a JSON body; its bytes are limited before it is parsed. */
export type JsonBounds = {
  /** Total number of objects, arrays, strings, numbers and other values. */
  values: number;
  /** Nesting of objects and arrays. */
  depth: number;
};

/**
 * Which structural limit a parsed body exceeds, or null. Checked before the schema, because a schema reports every error, which takes
 * seconds for a megabyte of short keys.
 */
export function structureFault(body: unknown, { values, depth }: JsonBounds): string | null {
  let count = 1;
  let level: object[] = isParent(body) ? [body] : [];
  for (let deep = 1; level.length > 0; deep += 1) {
    if (deep > depth) return `its objects and arrays are nested more than ${depth} deep`;
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
