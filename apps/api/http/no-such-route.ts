import { CairnError, firstOf } from '@cairn/contract';
import type { FastifySchema } from 'fastify';
import type { App } from './bare-app.ts';

export type DeclaredRoute = { url: string; methods: string[]; schema: FastifySchema };

declare module 'fastify' {
  interface FastifyInstance {
    /** Every route of the app, as it was declared. */
    declaredRoutes: DeclaredRoute[];
  }
}

/**
 * Refuses requests that no route takes, before a body is read: `method_not_allowed` with the methods that the path has (RFC 9110, 15.5.6), else
 * `not_found`. Must come before the routes.
 */
export function refuseUnknownRoutes(app: App): void {
  const routes: (DeclaredRoute & { pattern: RegExp })[] = [];
  app.decorate('declaredRoutes', routes);
  app.addHook('onRoute', ({ url, method, schema = {} }) => {
    routes.push({ url, methods: [method].flat(), schema, pattern: patternOf(url) });
  });
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return;
    const path = request.url.split('?')[0] ?? '';
    const methods = [...new Set(routes.filter(({ pattern }) => pattern.test(path)).flatMap((route) => route.methods))].toSorted();
    const what = `${request.method} ${firstOf(path, 200)}`;
    if (methods.length === 0) throw new CairnError('not_found', `No route ${what}; /docs lists the routes`);
    reply.header('allow', methods.join(', '));
    throw new CairnError('method_not_allowed', `Method not allowed: ${what}; the path takes ${methods.join(', ')}`);
  });
}

/** The paths of a route such as `/v1/runs/:id`. */
function patternOf(url: string): RegExp {
  const parts = url.split('/').map((part) => {
    if (part.startsWith(':')) return '[^/]+';
    return part === '*' ? '.*' : part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${parts.join('/')}$`);
}
