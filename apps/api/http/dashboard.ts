import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { versionView } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import fastifyStatic from '@fastify/static';
import type { FastifyRequest } from 'fastify';
import { type App, problems } from './bare-app.ts';

/** The dashboard's files, as its build left them. */
export type Dashboard = {
  folder: string;
  /** Changes with every build: pages that were loaded before ask their readers to reload. */
  build: string;
};

/** The dashboard in a folder; null where it is not built. */
export function findDashboard(folder: string): Dashboard | null {
  const page = join(folder, 'index.html');
  // It names every file of the build by the hash of its content.
  return existsSync(page) ? { folder, build: sha256(readFileSync(page)).slice(0, 16) } : null;
}

/**
 * Only the service's own scripts and data; no inline scripts, no eval. Styles may be inline: the component library sets them on elements
 * (https://mantine.dev/styles/styles-performance/).
 */
const contentSecurityPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; " +
  "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const pageHeaders = {
  'content-security-policy': contentSecurityPolicy,
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

/** Vite puts files whose names have the hash of their content here. */
const hashedFiles = '/assets/';

/**
 * Serves the dashboard's files at `/`, compressed ones where the browser takes them, and its page for every address that a person opens and
 * that is not the API's: the page itself knows its addresses. Must be registered after the other routes.
 */
export async function serveDashboard(app: App, { folder, build }: Dashboard): Promise<void> {
  await app.register(async (scope) => {
    // A page loads many files at once, and none of them costs a query.
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, load: 'none' };
    });
    await scope.register(fastifyStatic, {
      root: folder,
      // A route for each file, so that unknown paths stay unknown.
      wildcard: false,
      globIgnore: ['**/*.br', '**/*.gz'],
      preCompressed: true,
      cacheControl: false,
      setHeaders: (reply, path) => {
        const isHashed = path.slice(folder.length).startsWith(hashedFiles);
        void reply.headers({
          ...pageHeaders,
          // A page must be asked for again, because it names the files of its build.
          'cache-control': isHashed ? 'public, max-age=31536000, immutable' : 'no-cache',
        });
      },
    });
    scope.setNotFoundHandler((_request, reply) => reply.sendFile('index.html'));
  });
  app.get(
    '/version.json',
    {
      config: { load: 'none' },
      schema: {
        operationId: 'getVersion',
        tags: ['health'],
        summary: 'Which build of the dashboard is served',
        security: [],
        response: { 200: versionView, ...problems },
      },
    },
    async () => ({ build }),
  );
}

/** First parts of paths that are not pages, whatever is asked for. */
const notPages = new Set([
  'v1',
  'internal',
  'docs',
  'openapi.json',
  'recipe.schema.json',
  'healthz',
  'readyz',
  'metrics',
  'assets',
  'version.json',
]);

/** Whether a person opens an address that only the dashboard's page may know. */
export function isPageRequest({ method, url, headers }: Pick<FastifyRequest, 'method' | 'url' | 'headers'>): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false;
  const [first = ''] = (url.split('?')[0] ?? '').split('/').slice(1);
  return !notPages.has(first) && (headers.accept ?? '').includes('text/html');
}
