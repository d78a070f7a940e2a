import { codeHostView, outgoingDeliveryPage, webhookCreated, webhookView } from '@cairn/contract';
import { ada } from '@cairn/engine/testing';
import { newId } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { call, prisma, engine } = await openTestApi();
const as = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) =>
  call('admin', method, `/v1/${path}`, body === undefined ? {} : { body });

test('the secret of a webhook is shown once, when it is made; its messages are listed and sent again', async () => {
  const url = 'https://hooks.example.org/cairn?key=abc';
  const made = await as('POST', 'webhooks', { name: 'chat', url, events: ['alias.moved'] });
  expect(made.status).toBe(201);
  const { secret } = webhookCreated.parse(made.json);
  const shown = await as('GET', 'webhooks/chat');
  expect(webhookView.parse(shown.json)).toMatchObject({ url, events: ['alias.moved'], createdBy: 'a-admin', pending: 0, newest: null });
  expect(shown.text).not.toContain(secret);
  expect((await as('POST', 'webhooks', { name: 'chat', url, events: ['run.ended'] })).json).toMatchObject({ code: 'name_taken' });
  const rotated = webhookCreated.parse((await as('POST', 'webhooks/chat/rotate')).json);
  expect(rotated.secret).not.toBe(secret);
  expect(Date.parse(rotated.previousSecretUntil ?? '') - Date.now()).toBeGreaterThan(23 * 3_600_000);

  const model = { projectId: 'default', owner: 'ada', name: 'toy', version: 1, artifacts: {}, metrics: {} };
  await prisma.model.create({ data: { id: newId('model'), ...model, runId: newId('run'), stepId: newId('step') } });
  await engine.setAlias({ model: 'toy', alias: 'production' }, { version: 1, reason: 'the first' }, ada);
  const { json: sent } = await as('POST', 'webhooks/chat/test');
  const { items } = outgoingDeliveryPage.parse((await as('GET', 'webhooks/chat/deliveries')).json);
  expect(items).toMatchObject([
    { id: sent.id, event: 'webhook.test', state: 'pending', attempts: 0, answer: null },
    { event: 'alias.moved', subject: 'toy@production', state: 'pending' },
  ]);
  const [first = items[0], second] = items;
  const page = await as('GET', 'webhooks/chat/deliveries?limit=1');
  const next = await as('GET', `webhooks/chat/deliveries?cursor=${page.json.nextCursor}`);
  expect([page.json.items, next.json.items]).toEqual([[first], [second]]);
  await prisma.delivery.updateMany({ where: { id: BigInt(second?.id ?? 0) }, data: { state: 'failed', endedAt: new Date() } });
  expect((await as('GET', 'webhooks/chat/deliveries?state=failed')).json.items).toHaveLength(1);
  expect(await as('POST', `webhooks/chat/deliveries/${second?.id}/resend`)).toMatchObject({ status: 202, json: { state: 'pending' } });
  expect(await as('POST', 'webhooks/chat/deliveries/999999/resend')).toMatchObject({ status: 404 });

  expect((await as('DELETE', 'webhooks/chat')).status).toBe(204);
  expect((await as('GET', 'webhooks/chat')).json).toMatchObject({ code: 'not_found' });
  expect(await prisma.sealedSecret.count()).toBe(0);
  const audit = JSON.stringify((await as('GET', 'audit')).json.items);
  for (const action of ['add', 'rotate', 'test', 'resend', 'remove']) expect(audit).toContain(`"webhook.${action}"`);
  // Neither a secret nor the query of the address, which often has one.
  expect(audit).not.toMatch(/whsec_|key=abc/);
});

test('the token of a code host is never shown, and is not sent unencrypted', async () => {
  const host = { name: 'hub', provider: 'github', url: 'https://code.example.org/api/', repositories: ['org/*'], token: 'tok_0123456789' };
  const plain = await as('POST', 'code-hosts', { ...host, url: 'http://code.example.org' });
  expect(plain.json).toMatchObject({ code: 'invalid_request', detail: 'The token would be sent to code.example.org unencrypted' });
  const made = await as('POST', 'code-hosts', host);
  expect(codeHostView.parse(made.json)).toMatchObject({ name: 'hub', url: 'https://code.example.org/api', repositories: ['org/*'] });
  await as('PUT', 'code-hosts/hub/token', { token: 'another_0123456789' });
  expect((await as('GET', 'code-hosts/hub/deliveries')).json).toEqual({ items: [], nextCursor: null });
  const listed = await as('GET', 'code-hosts');
  const audit = await as('GET', 'audit');
  expect((await as('DELETE', 'code-hosts/hub')).status).toBe(204);
  for (const { text } of [made, listed, audit]) expect(text).not.toMatch(/tok_0123456789|another_0123456789/);
});

test.each([
  ['webhooks', { name: 'w', url: 'ftp://example.org', events: ['run.ended'] }],
  ['webhooks', { name: 'w', url: 'https://user:pass@example.org', events: ['run.ended'] }],
  ['webhooks', { name: 'w', url: 'https://example.org/\u0000', events: ['run.ended'] }],
  ['webhooks', { name: 'w', url: 'https://example.org/\u001b[8m', events: ['run.ended'] }],
  ['webhooks', { name: 'w', url: 'https://example.org/\ud83d', events: ['run.ended'] }],
  ['webhooks', { name: 'w', url: 'https://example.org', events: ['run.exploded'] }],
  ['webhooks', { name: 'w', url: 'https://example.org', events: [] }],
  ['code-hosts', { name: 'c', provider: 'github', url: 'https://example.org', repositories: ['or*'], token: 'tok_0123456789' }],
  ['code-hosts', { name: 'c', provider: 'github', url: 'https://example.org', repositories: ['*'], token: 'with space 0123' }],
])('%s refuses %j', async (path, body) => {
  expect((await as('POST', path, body)).json).toMatchObject({ code: 'invalid_request', details: { part: 'body' } });
});
