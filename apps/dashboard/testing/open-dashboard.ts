import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createClient } from '@cairn/client';
import { openEngineHarness } from '@cairn/engine/testing';
import { createCloser } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { bareEnvironment, freePort, makeRunFolder, removeRunFolder, serverProgram } from '@cairn/testing';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, test as base, expect } from 'vitest';
import { findChromium, launchChromium } from './chromium.ts';

const root = join(import.meta.dirname, '..', '..', '..');
/** Where the picture of a test's page is kept when it fails. */
const pictures = join(root, 'out', 'dashboard');

const adminToken = 'cairn_the-admin-of-the-browser-tests';
const startLimitMs = 60_000;
/** The first test of a machine without a Chromium installs one. */
const installLimitMs = 6 * 60_000;
/** How long a page may take to show what a test waits for, on a busy machine. */
const pageLimitMs = 45_000;

export type PageOptions = {
  /** The token to sign in with; null opens the page without a session. */
  token?: string | null;
  theme?: 'light' | 'dark';
  width?: number;
  height?: number;
  /** Errors of the console and failed requests that the test provokes. */
  expected?: readonly RegExp[];
  /** Another page of the same browser profile, such as a second tab. */
  of?: BrowserContext;
};

/** One Chromium for all test files of a worker. It keeps nothing between tests: pages are in contexts of their own, closed after each. */
// biome-ignore lint/correctness/noEmptyPattern: vitest reads here what a fixture needs.
const withBrowser = base.extend('browser', { scope: 'worker' }, async ({}, { onCleanup }) => {
  const browser = await launchChromium(await findChromium(process.env));
  onCleanup(() => browser.close());
  return browser;
});

/**
 * For a test file: a real api with the dashboard, on a database of its own, an engine whose steps the test plays, and pages in a Chromium.
 * A test fails on errors in the console, on violations of the content security policy and on failed requests, and a failed test leaves a
 * picture of its pages in out/dashboard.
 */
export async function openDashboard() {
  const closer = createCloser();
  afterAll(() => closer.close());
  await access(join(root, 'apps', 'dashboard', 'dist', 'index.html')).catch((cause: unknown) => {
    throw new Error('the dashboard is not built: run `npm run build -w apps/dashboard`, or `npm test`, which builds it', { cause });
  });
  const harness = await openEngineHarness();
  closer.add('the engine harness', () => harness.close());
  const { url, server, folder } = await startApi(harness.databaseUrl, closer);
  let browser: Browser | undefined;
  withBrowser.beforeAll(({ browser: started }) => {
    browser = started;
  }, installLimitMs);
  const watched = watchPages();

  async function openPage(path: string, options: PageOptions = {}): Promise<Page> {
    const { token = adminToken, theme = 'light', width = 1280, height = 900, expected = [] } = options;
    if (browser === undefined) throw new Error('pages can be opened in tests, not before');
    const context =
      options.of ?? (await browser.newContext({ baseURL: url, colorScheme: theme, viewport: { width, height }, reducedMotion: 'reduce' }));
    context.setDefaultTimeout(pageLimitMs);
    if (options.of === undefined && token !== null) {
      const { origin } = new URL(url);
      const answer = await context.request.post('/v1/session', { data: { token }, headers: { origin } });
      expect(answer.status()).toBe(204);
    }
    const page = await context.newPage();
    watched.add(page, expected);
    await page.goto(path);
    return page;
  }

  return {
    harness,
    url,
    server,
    adminToken,
    /** The api's: where a test puts what its steps have made. */
    store: openStore(storageOf(folder)),
    /** The folder that may hold datasets. */
    datasets: join(folder, 'datasets'),
    client: createClient({ url, token: adminToken }),
    openPage,
    /** Keeps a picture in out/dashboard, for people. */
    picture: async (page: Page, name: string) => page.screenshot({ path: join(pictures, `${name}.png`) }),
  };
}
export type Dashboard = Awaited<ReturnType<typeof openDashboard>>;

async function startApi(databaseUrl: string, closer: ReturnType<typeof createCloser>) {
  const folder = await makeRunFolder();
  closer.add('the folder of the api', () => removeRunFolder(folder));
  await mkdir(join(folder, 'datasets'));
  const [port, internalPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const server = serverProgram({
    name: 'the api',
    program: process.execPath,
    args: [join(root, 'apps', 'api', 'main.ts')],
    place: {
      env: {
        ...bareEnvironment(),
        CAIRN_DATABASE_URL: databaseUrl,
        CAIRN_STORAGE_URL: storageOf(folder),
        CAIRN_DATASET_ROOTS: join(folder, 'datasets'),
        CAIRN_SERVER_KEY: 'a server key for tests, 32 or more',
        CAIRN_SECRETS_KEYS: 'k1:a-key-for-secrets-in-tests-32-or-more',
        CAIRN_ADMIN_TOKEN: adminToken,
        CAIRN_API_PORT: String(port),
        CAIRN_INTERNAL_PORT: String(internalPort),
      },
    },
    logFile: join(folder, 'api.log'),
    probe: async () => {
      await createClient({ url, token: adminToken, tries: 1 }).getFleet({ timeoutMs: 2_000 });
    },
    startLimitMs,
  });
  closer.add('the api', () => server.end('SIGKILL'));
  await server.start();
  return { url, server, folder };
}

const storageOf = (folder: string): string => pathToFileURL(join(folder, 'storage')).href;

/** After each test: fails it for what went wrong in its pages, and closes them. */
function watchPages() {
  const pages = new Map<Page, readonly RegExp[]>();
  const faults: string[] = [];

  afterEach(async ({ task }) => {
    const found = faults.splice(0);
    const open = [...pages.keys()].filter((page) => !page.isClosed());
    if (found.length > 0 || task.result?.state === 'fail') {
      await mkdir(pictures, { recursive: true });
      const name = task.name.replaceAll(/\W+/g, '-').slice(0, 80);
      await Promise.all(
        open.map((page, index) => page.screenshot({ path: join(pictures, `failed-${name}-${index}.png`) }).catch(() => undefined)),
      );
    }
    const contexts = new Set([...pages.keys()].map((page) => page.context()));
    pages.clear();
    await Promise.all([...contexts].map((context) => context.close()));
    expect(found, 'errors of the pages').toEqual([]);
  });

  return {
    add(page: Page, expected: readonly RegExp[]): void {
      pages.set(page, expected);
      const note = (fault: string): void => {
        if (!expected.some((pattern) => pattern.test(fault))) faults.push(fault);
      };
      page.on('console', (message) => {
        // Violations of the content security policy are errors too.
        if (message.type() === 'error') note(`console: ${message.text()} (${message.location().url})`);
      });
      page.on('pageerror', (error) => note(`uncaught: ${error.stack ?? error.message}`));
      page.on('requestfailed', (request) => {
        const why = request.failure()?.errorText ?? '';
        // A page that leaves or a query that is no longer needed cancels its requests.
        if (why !== 'net::ERR_ABORTED') note(`failed: ${request.method()} ${request.url()}: ${why}`);
      });
    },
  };
}
