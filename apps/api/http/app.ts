import { CairnError, firstOf } from '@cairn/contract';
import type { Logger, Metrics } from '@cairn/runtime';
import type { FastifyError, FastifyRequest, FastifySchema } from 'fastify';
import { serializerCompiler } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { boundConnections, type ConnectionBounds } from '../load/bound-connections.ts';
import { type App, bareApp } from './bare-app.ts';
import { watchClosing } from './closing.ts';
import { asCairnError, problemOf, type RequestPart, requestFault, requestParts } from './problem.ts';
import { type JsonBounds, readJsonBodies, readOctetBodies } from './request-body.ts';

export type AppOptions = {
  /** Name of the server, for the metrics. */
  server: 'public' | 'internal' | 'metrics';
  log: Logger;
  metrics: Metrics;
  /** The largest request body. */
  maxBodyBytes: number;
  /** Structural limits of a JSON body; defaults to 4,000 values in 16 levels. */
  bodyBounds?: JsonBounds;
  connections: ConnectionBounds;
  /** Whether a request that matches no route is left to the not-found handler instead of rejected. */
  isPageRequest?: (request: FastifyRequest) => boolean;
  /** Time limit for a whole JSON body, and between two chunks of a binary body; defaults to a minute. */
  bodyTimeoutMs?: number;
};

const defaultBodyTimeoutMs = 60_000;
/** Well above the largest recipe: 32 stages of 40 settings. */
const defaultBodyBounds = { values: 4_000, depth: 16 };

/**
 * What the servers share: request ids, limited JSON bodies, zod validation of requests and responses, problem documents, metrics and logs.
 */
export function createApp({
  server,
  log,
  metrics,
  maxBodyBytes,
  bodyBounds = defaultBodyBounds,
  connections,
  isPageRequest = () => false,
  bodyTimeoutMs = defaultBodyTimeoutMs,
}: AppOptions) {
  const app = bareApp({ log, maxBodyBytes, connections });

  app.setValidatorCompiler(({ schema, httpPart }) => validator(schema, httpPart));
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = asCairnError(error);
    // A value that PostgreSQL had to reject means a gap in a schema.
    if (known.row.status >= 500 || known.details.part === 'database')
      request.log.error({ err: error, method: request.method, url: request.url }, 'request failed');
    const { retryAfterSeconds } = known.details;
    if (typeof retryAfterSeconds === 'number') void reply.header('retry-after', retryAfterSeconds);
    void reply.code(known.row.status).type('application/problem+json').send(problemOf(known, request.id));
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' });
  });
  refuseUnknownRoutes(app, isPageRequest);
  refuseBrokenQueries(app);
  watchClosing(app, boundConnections(app.server, connections));
  closeUnfinishedRequests(app);
  measureRequests(app, server, metrics);
  readJsonBodies(app, { maxBytes: maxBodyBytes, timeoutMs: bodyTimeoutMs, bounds: bodyBounds });
  readOctetBodies(app, bodyTimeoutMs);
  return app;
}

function validator(schema: unknown, httpPart: string | undefined) {
  if (!(schema instanceof z.core.$ZodType)) throw new Error('a route has a schema that is not a zod schema');
  const part = requestPart.parse(httpPart);
  return (data: unknown) => {
    // Fastify passes null for a missing body.
    const given = data ?? undefined;
    const result = z.core.safeParse(schema, given);
    return result.success ? { value: result.data } : { error: requestFault(part, schema, given, result.error) };
  };
}

const partNames = Object.keys(requestParts).filter((name): name is RequestPart => name in requestParts);
const requestPart = z.enum(partNames);

function measureRequests(app: { addHook: App['addHook'] }, server: AppOptions['server'], metrics: Metrics): void {
  const seconds = metrics.histogram({
    name: `http_${server}_request_seconds`,
    help: `Duration of requests to the ${server} server, by route`,
    labels: ['method', 'route', 'status'],
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30],
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    const took = reply.elapsedTime;
    seconds.observe({ method: request.method, route, status: reply.statusCode }, took / 1000);
    const line = { method: request.method, url: request.url, status: reply.statusCode, ms: Math.round(took * 10) / 10 };
    request.log[request.method === 'GET' ? 'debug' : 'info'](line, 'request');
  });
}

/** How long a client may continue sending a body after the answer: enough time to read the answer. */
const lingerMs = 2_000;

/**
 * Closes the connection of a request that was answered before its body arrived, such as a refused one, unless the rest arrives shortly
 * after: nothing reads it any more, and a client that sends byte by byte would hold the connection forever.
 */
function closeUnfinishedRequests(app: Pick<App, 'addHook'>): void {
  app.addHook('onResponse', async ({ raw }) => {
    if (raw.complete) return;
    setTimeout(() => {
      if (!raw.complete) raw.destroy();
    }, lingerMs).unref();
  });
}

/** Rejects a query with invalid percent encoding or invalid UTF-8, which its parser would accept literally. */
function refuseBrokenQueries(app: App): void {
  app.addHook('onRequest', async (request) => {
    const at = request.url.indexOf('?');
    if (at < 0) return;
    try {
      decodeURIComponent(request.url.slice(at + 1));
    } catch (cause) {
      const message = 'it has a percent sign without two hexadecimal digits, or bytes that are not UTF-8';
      throw new CairnError('invalid_request', `The query of the request is invalid: ${message}`, {
        details: { part: 'query', errors: [{ path: '', message }] },
        cause,
      });
    }
  });
}

type DeclaredRoute = { url: string; methods: string[]; schema: FastifySchema };

declare module 'fastify' {
  interface FastifyInstance {
    /** Every declared route of the app. */
    declaredRoutes: DeclaredRoute[];
  }
}

/**
 * Rejects requests that match no route, before a body is read: `method_not_allowed` with the methods of the path (RFC 9110, 15.5.6), else
 * `not_found`. Must be registered before the routes.
 */
function refuseUnknownRoutes(app: App, isPageRequest: (request: FastifyRequest) => boolean): void {
  const routes: (DeclaredRoute & { pattern: RegExp })[] = [];
  app.decorate('declaredRoutes', routes);
  app.addHook('onRoute', ({ url, method, schema = {} }) => {
    routes.push({ url, methods: [method].flat(), schema, pattern: patternOf(url) });
  });
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404 || isPageRequest(request)) return;
    const path = request.url.split('?')[0] ?? '';
    const methods = [...new Set(routes.filter(({ pattern }) => pattern.test(path)).flatMap((route) => route.methods))].toSorted();
    const what = `${request.method} ${firstOf(path, 200)}`;
    if (methods.length === 0) throw new CairnError('not_found', `No route ${what}; see /docs for the routes`);
    reply.header('allow', methods.join(', '));
    throw new CairnError('method_not_allowed', `Method not allowed: ${what}; use ${methods.join(', ')}`);
  });
}

/** A pattern for the paths of a route such as `/v1/runs/:id`. */
function patternOf(url: string): RegExp {
  const parts = url.split('/').map((part) => {
    if (part.startsWith(':')) return '[^/]+';
    return part === '*' ? '.*' : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${parts.join('/')}$`);
}
