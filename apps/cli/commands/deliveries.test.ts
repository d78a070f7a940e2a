import { idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import type { OutgoingDeliveryView, WebhookView } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const at = '2026-01-02T03:04:05.000Z';
const aDelivery = (over: Partial<OutgoingDeliveryView> = {}): OutgoingDeliveryView => ({
  ...{ id: '12', messageId: 'b0f5a1f0-6a0e-4c57-9d1e-3a5b7c9d1e2f', event: 'run.ended', subject: 'run_1', state: 'delivered', attempts: 1 },
  ...{ nextTryAt: null, triesUntil: null, answer: { at, status: 200, message: 'HTTP 200' }, createdAt: at, endedAt: at },
  ...over,
});
const aWebhook = (over: Partial<WebhookView> = {}): WebhookView => ({
  ...{
    id: idFor('whk', 1),
    name: 'hooks.example.org',
    url: 'https://hooks.example.org/x',
    events: ['run.ended'],
    createdBy: 'ada',
    createdAt: at,
  },
  ...{ previousSecretUntil: null, pending: 0, failed: 0, newest: aDelivery() },
  ...over,
});

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
});
afterEach(() => api.close());
const cairn = (args: string[], stdin?: string) => runTestCli(args, { url: api.url, ...(stdin === undefined ? {} : { stdin }) });

test('a webhook is named by its host, and stdout has nothing but its secret', async () => {
  api.on('POST', '/v1/webhooks', () => ({ ...aWebhook(), secret: 'whsec_abc' }));
  const added = await cairn(['webhook', 'add', 'https://hooks.example.org/x', '--events', 'run.ended, gate.judged']);
  expect(added).toMatchObject({ code: 0, out: 'whsec_abc\n' });
  expect(JSON.parse(api.requests[0]?.body ?? '')).toEqual({
    ...{ name: 'hooks.example.org', url: 'https://hooks.example.org/x', events: ['run.ended', 'gate.judged'] },
  });
  const wrong = await cairn(['webhook', 'add', 'https://hooks.example.org/x', '--events', 'run.exploded']);
  expect(wrong.code).toBe(2);
  expect(wrong.err).toContain('The events are run.ended, gate.judged, alias.moved, budget.reached');
});

test('a test waits for the answer, and exits with 1 when the receiver did not take it', async () => {
  const waiting = aDelivery({ state: 'pending', answer: null, attempts: 0, endedAt: null, nextTryAt: at, triesUntil: at });
  api.on('POST', '/v1/webhooks/chat/test', () => waiting);
  api.on('GET', '/v1/webhooks/chat/deliveries/12', () => ({ ...waiting, attempts: 1, answer: { at, status: 500, message: 'HTTP 500' } }));
  expect(await cairn(['webhook', 'test', 'chat'])).toMatchObject({ code: 1, out: 'pending: HTTP 500\n' });
  api.on('POST', '/v1/webhooks/chat/test', () => aDelivery());
  expect(await cairn(['webhook', 'test', 'chat'])).toMatchObject({ code: 0, out: 'delivered: HTTP 200\n' });
});

test('a code host is added with a token or as a GitHub App, whose key is read from a file and never shown', async () => {
  const host = {
    id: idFor('chs', 1),
    name: 'hub',
    provider: 'github',
    url: 'https://api.github.com',
    repositories: ['org/*'],
    createdBy: 'ada',
  };
  api.on('POST', '/v1/code-hosts', ({ body }) => ({
    ...{ ...host, appId: JSON.parse(body).app?.id ?? null, createdAt: at, pending: 0, failed: 0, newest: null },
  }));
  const add = ['codehost', 'add', 'hub', '--provider', 'github', '--api', 'https://api.github.com', '--repositories', 'org/*'];
  const key = '-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n';
  const app = await cairn([...add, '--app', '12', '--private-key-file', '-'], key);
  expect(app).toMatchObject({ code: 0, out: 'Code host hub gets reports about runs of org/*.\n' });
  expect(JSON.parse(api.requests[0]?.body ?? '')).toMatchObject({ app: { id: '12', privateKey: key.trim() } });
  expect((await cairn([...add, '--token-file', '-'], 'a-token\n')).code).toBe(0);
  expect(JSON.parse(api.requests[1]?.body ?? '')).toMatchObject({ token: 'a-token' });
  for (const wrong of [[], ['--app', '12'], ['--app', '12', '--token-file', '-'], ['--private-key-file', '-']])
    expect((await cairn([...add, ...wrong], 'x')).code).toBe(2);
  expect(api.requests).toHaveLength(2);
});

test('lists say what waits and what was answered', async () => {
  const nextTryAt = '2026-01-02T03:10:53.000Z';
  const failing = aDelivery({ id: '13', state: 'pending', attempts: 4, nextTryAt, answer: { at, status: 503, message: 'HTTP 503' } });
  api.on('GET', '/v1/webhooks', () => ({ items: [aWebhook({ pending: 3 })] }));
  api.on('GET', '/v1/webhooks/chat/deliveries', ({ query }) => ({
    items: query.get('state') === 'pending' ? [failing] : [],
    nextCursor: null,
  }));
  expect((await cairn(['webhook'])).out).toMatch(/hooks\.example\.org +https:\S+ +run\.ended +3 +delivered 5 min ago/);
  expect((await cairn(['webhook', 'deliveries', 'chat', '--state', 'pending'])).out).toMatch(
    /13 .* pending +4 +HTTP 503; next try in 53 s/,
  );
});

test('the token of a code host comes from a file or stdin, never from an argument', async () => {
  const view = { id: idFor('chs', 1), name: 'hub', provider: 'github', url: 'https://api.example.org', repositories: ['org/*'] };
  api.on('POST', '/v1/code-hosts', () => ({ ...view, createdBy: 'ada', createdAt: at, pending: 0, failed: 0, newest: null }));
  const command = ['codehost', 'add', 'hub', '--provider', 'github', '--api', 'https://api.example.org', '--repositories', 'org/*'];
  const added = await cairn([...command, '--token-file', '-'], 'tok_0123456789\n');
  expect(added).toMatchObject({ code: 0, out: 'Code host hub gets reports about runs of org/*.\n' });
  expect(JSON.parse(api.requests[0]?.body ?? '')).toMatchObject({ repositories: ['org/*'], token: 'tok_0123456789' });
  expect((await cairn([...command, '--token-file', '/nowhere'])).err).toContain('The token cannot be read from /nowhere: ENOENT');
});

test('a view is saved from the address of its page, and its filters list runs', async () => {
  const view = {
    name: 'mine',
    owner: 'ada',
    page: 'runs',
    query: 'state=failed&state=held&tag=baseline&sort=name',
    isShared: false,
    updatedAt: at,
  };
  api.on('PUT', '/v1/views/mine', () => ({ items: [view] }));
  api.on('GET', '/v1/views', () => ({ items: [view] }));
  api.on('GET', '/v1/runs', () => ({ items: [], nextCursor: null, total: 0 }));
  expect(await cairn(['view', 'save', 'mine', 'https://cairn.example.org/runs?state=failed', '--share'])).toMatchObject({ code: 0 });
  expect(JSON.parse(api.requests.at(-1)?.body ?? '')).toEqual({ page: 'runs', query: 'state=failed', isShared: true });
  expect((await cairn(['view'])).out).toMatch(/^mine +runs +state=failed&state=held&tag=baseline&sort=name +ada/m);
  await cairn(['runs', '--view', 'mine', '--owner', 'eve']);
  expect([...(api.requests.at(-1)?.query ?? [])].sort().join(' ')).toBe(
    'limit,20 owner,eve sort,name state,failed state,held tag,baseline',
  );
  const unknown = await cairn(['runs', '--view', 'yours']);
  expect(unknown).toMatchObject({ code: 2, err: expect.stringContaining('There is no view yours of runs') });
  expect(await cairn(['view', 'save', 'mine', 'https://cairn.example.org/v1/runs/x'])).toMatchObject({
    err: expect.stringContaining('is not the address of a page with filters'),
  });
});

test('the audit log shows what changed and why, briefly', async () => {
  const act = { at: '2026-01-02T03:04:05.000Z', actor: 'ada', tokenId: null, address: '10.0.0.7', details: {} };
  api.on('GET', '/v1/audit', () => ({
    items: [
      { ...act, action: 'alias.set', target: 'm@production', before: { version: 7 }, after: { version: 8 }, details: { reason: 'better' } },
      { ...act, action: 'schedule.remove', target: 'weekly', before: { run: { recipe: 'x'.repeat(500) }, cron: '0 3 * * 1' }, after: null },
    ],
    nextCursor: null,
  }));
  const { out } = await cairn(['audit']);
  expect(out).toMatch(/alias\.set +m@production +version: 7 to 8 \(better\) +10\.0\.0\.7\n/);
  expect(out).toMatch(/weekly +run: \{"recipe":"x+… to none; cron: 0 3 \* \* 1 to none +10/);
});
