import type { BrowserContext, Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { accessibilityFaults } from '../testing/accessibility.ts';
import { addReceivers } from '../testing/add-receivers.ts';
import { openDashboard } from '../testing/open-dashboard.ts';

const dashboard = await openDashboard();
const { harness, client, openPage, server, adminToken } = dashboard;

/** On a machine that is busy with other tests. */
const limitMs = 240_000;
const unauthenticated = [/status of 401/];

async function openAs(role: 'viewer' | 'submitter', path: string, expected: readonly RegExp[] = []) {
  const { id, secret } = await client.createToken({ name: `${role}-${crypto.randomUUID().slice(0, 8)}`, role });
  return { tokenId: id, page: await openPage(path, { token: secret, expected }) };
}

/** The event streams that the pages of a profile open from now on. */
function countStreams(context: BrowserContext): () => number {
  let streams = 0;
  context.on('request', (request) => {
    if (new URL(request.url()).pathname === '/v1/events') streams += 1;
  });
  return () => streams;
}

const isLive = (page: Page) => page.getByRole('status').getByText('Live').waitFor();
const shows = (page: Page, name: string) => page.getByRole('link', { name }).waitFor();

test(
  'a sign-in leads back to the address that was opened, and a sign-out ends it in every tab',
  async () => {
    const page = await openPage('/runs?state=failed', { token: null, expected: unauthenticated });
    await page.getByRole('heading', { name: 'Sign in to Cairn' }).waitFor();
    await page.getByLabel('Token').fill('not a token');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('Missing or invalid token').waitFor();

    await page.getByLabel('Token').fill(adminToken);
    await page.keyboard.press('Enter');
    await page.getByText('No run matches').waitFor();
    expect(new URL(page.url()).pathname + new URL(page.url()).search).toBe('/runs?state=failed');

    const other = await openPage('/', { of: page.context(), expected: unauthenticated });
    await other.getByRole('heading', { name: 'Needs you' }).waitFor();
    await page.getByRole('button', { name: /^Account/ }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    for (const tab of [page, other]) await tab.getByRole('heading', { name: 'Sign in to Cairn' }).waitFor();
  },
  limitMs,
);

test(
  'a revoked token leads to the sign-in at the next request',
  async () => {
    const { page, tokenId } = await openAs('viewer', '/runs', unauthenticated);
    await isLive(page);
    await client.revokeToken(tokenId);
    // The hint of a new run makes the page ask again.
    await harness.submit({ name: 'after-the-revocation' });
    await page.getByRole('heading', { name: 'Sign in to Cairn' }).waitFor();
    expect(new URL(page.url()).searchParams.get('to')).toBe('/runs');
  },
  limitMs,
);

test(
  'a viewer sees no button that the role does not allow',
  async () => {
    await harness.submit({ name: 'for-all-roles' });
    const [viewer, submitter] = await Promise.all([openAs('viewer', '/runs'), openAs('submitter', '/runs')]);
    for (const { page } of [viewer, submitter]) {
      await page.getByRole('checkbox', { name: 'Select for-all-roles' }).check();
      await page.getByRole('button', { name: 'Copy ids' }).waitFor();
    }
    expect(await viewer.page.getByRole('button', { name: 'Cancel …' }).count()).toBe(0);
    expect(await submitter.page.getByRole('button', { name: 'Cancel …' }).count()).toBe(1);
  },
  limitMs,
);

test(
  'a page asks for its data while its code is loaded, and as its link is pointed at, and for nothing that the role may not read',
  async () => {
    const runs = [await harness.submit({ name: 'one' }), await harness.submit({ name: 'other' })];
    await client.addTrigger({ name: 'landmarks', provider: 'github', run: { recipe: 'tiny', dataset: 'toy' } });
    await addReceivers(client);
    const ofAdmins = {
      '/tokens': '/v1/tokens',
      '/audit?action=token.create': '/v1/audit',
      '/secrets': '/v1/secrets',
      '/webhooks': '/v1/webhooks',
      '/webhooks/chat': '/v1/webhooks/chat/deliveries',
      '/code-hosts': '/v1/code-hosts',
      '/code-hosts/hub': '/v1/code-hosts/hub/deliveries',
    };
    const asks = {
      ...ofAdmins,
      [`/compare?runs=${runs.join(',')}`]: '/v1/runs/comparison',
      '/submit?recipe=tiny': '/v1/recipes/tiny',
      [`/submit?from=${runs[0]}`]: `/v1/runs/${runs[0]}`,
      '/evaluation?of=nothing': '/v1/evaluation/queries',
      '/try': '/v1/models',
      '/ledger?period=week': '/v1/ledger',
      '/triggers/landmarks': '/v1/triggers/landmarks/deliveries',
    };
    const page = await openPage('/runs', { expected: [/status of 404/] });
    // The code of a page never arrives: what is asked is not asked by the page.
    await page.route(/assets\/[a-z]+-page-[^/]+\.js$/, () => undefined);
    const isAsked = (call: string) => page.waitForRequest((request) => new URL(request.url()).pathname === call);
    for (const [path, call] of Object.entries(asks)) await Promise.all([isAsked(call), page.goto(path)]);
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    await page.goto('/runs');
    await Promise.all([isAsked('/v1/ledger'), page.getByRole('link', { name: 'Ledger' }).hover()]);

    const { page: viewer } = await openAs('viewer', '/runs');
    const requests: string[] = [];
    viewer.on('request', (request) => requests.push(new URL(request.url()).pathname));
    for (const [path, call] of Object.entries(ofAdmins).slice(0, 4)) {
      await viewer.goto(path);
      await viewer.getByText('it takes a token of the role admin').waitFor();
      expect(requests).not.toContain(call);
    }
  },
  limitMs,
);

test(
  'seven tabs share one event stream, and another takes it over when its tab is closed',
  async () => {
    const first = await openPage('/runs');
    const context = first.context();
    await isLive(first);
    const streams = countStreams(context);
    const tabs = await Promise.all(Array.from({ length: 6 }, () => openPage('/runs', { of: context })));
    await Promise.all(tabs.map(isLive));
    await harness.submit({ name: 'seen-by-seven' });
    await Promise.all([first, ...tabs].map((tab) => shows(tab, 'seen-by-seven')));
    expect(streams()).toBe(0);

    await first.close();
    await expect.poll(streams).toBe(1);
    await Promise.all(tabs.map(isLive));
    await harness.submit({ name: 'seen-by-six' });
    await Promise.all(tabs.map((tab) => shows(tab, 'seen-by-six')));
  },
  limitMs,
);

test(
  'while the service is down the page says how old its data is; after its restart it is right again, and asks for a reload if it is another release',
  async () => {
    const page = await openPage('/runs', { expected: [/ERR_|Failed to load resource/] });
    await isLive(page);
    // Stands for another build of the dashboard: a real one takes longer than all these tests.
    await page.route('**/version.json', (route) => route.fulfill({ json: { build: 'another' } }));
    await server.end('SIGKILL');
    await page.getByText(/^As of \d\d:\d\d:\d\d/).waitFor();
    await harness.submit({ name: 'while-it-was-down' });
    await server.start();
    await shows(page, 'while-it-was-down');
    await isLive(page);
    expect(await page.getByText(/^As of/).count()).toBe(0);

    await page.getByText('A new release of the dashboard is available.').waitFor();
    await page.unroute('**/version.json');
    await page.getByRole('button', { name: 'Reload' }).click();
    await isLive(page);
    expect(await page.getByText('A new release').count()).toBe(0);
  },
  limitMs,
);

test(
  'the sign-in passes axe in both themes',
  async () => {
    const page = await openPage('/sign-in', { token: null });
    await page.getByRole('heading', { name: 'Sign in to Cairn' }).waitFor();
    expect(await accessibilityFaults(page)).toEqual([]);
  },
  limitMs,
);
