import { createHmac, randomUUID } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { maxHookBytes } from '@cairn/contract';
import { smallRecipe } from '@cairn/engine/testing';
import { waitFor } from '@cairn/testing';
import { describe, expect, test } from 'vitest';
import { noBounds, openTestApi } from '../testing/test-api.ts';
import { commit, githubHeaders, hooksOf, push } from './testing/test-hooks.ts';

const testApi = await openTestApi();
const { call, prisma, openReplica } = testApi;
const { addTrigger, deliver, deliverSigned, rowsOf } = hooksOf(testApi);

describe('signatures', () => {
  test('that are wrong are refused, and the first of a flood is recorded', async () => {
    const trigger = await addTrigger();
    const body = push();
    const headers = githubHeaders(trigger.secret, body);
    const tampered = body.replace('"main"', '"evil"').replace('heads/main', 'heads/evil');
    const { 'x-hub-signature-256': right, ...unsigned } = headers;
    const wrong = [
      deliver(trigger, tampered, headers),
      deliver(trigger, Buffer.from(body, 'latin1'), headers),
      deliver(trigger, body, githubHeaders('another secret', body)),
      deliver(trigger, body, unsigned),
      deliver(trigger, body, { ...unsigned, 'x-hub-signature-256': right.slice(0, -2) }),
      deliver(trigger, body, { ...unsigned, 'x-hub-signature': `sha1=${createHmac('sha1', trigger.secret).update(body).digest('hex')}` }),
    ];
    for (const { status, outcome, reason } of await Promise.all(wrong)) {
      expect([status, outcome]).toEqual([401, 'wrong_signature']);
      expect(reason).not.toContain(right);
    }
    expect((await rowsOf(trigger)).map(({ outcome }) => outcome)).toEqual(['refused']);
    expect(await deliver(trigger, body, headers)).toMatchObject({ outcome: 'started' });
    expect((await deliver({ ...trigger, name: 'absent' }, body, headers)).status).toBe(404);
  });

  test('of GitLab: a signing token signs id, time and body; a secret token is compared', async () => {
    const trigger = await addTrigger({ provider: 'gitlab' });
    const bodyOf = (after: string) =>
      JSON.stringify({
        ref: 'refs/heads/main',
        before: 'b'.repeat(40),
        after,
        checkout_sha: after,
        project: { path_with_namespace: 'group/größe', web_url: 'https://gitlab.example.com/g' },
        commits: [],
        total_commits_count: 0,
      });
    const body = bodyOf(commit);
    const event = { 'content-type': 'application/json', 'x-gitlab-event': 'Push Hook' };
    const token = { ...event, 'x-gitlab-token': trigger.secret };
    const first = await deliver(trigger, body, { ...token, 'idempotency-key': 'one' });
    expect(first).toMatchObject({ status: 202, outcome: 'started' });
    expect(await deliver(trigger, body, { ...token, 'idempotency-key': 'one' })).toMatchObject({ outcome: 'repeated', runId: first.runId });
    // A branch that is set back and pushed again: the same body, but another event.
    expect(await deliver(trigger, body, { ...token, 'idempotency-key': 'two' })).toMatchObject({ outcome: 'started' });
    expect((await deliver(trigger, body, { ...event, 'x-gitlab-token': `${trigger.secret}x` })).status).toBe(401);
    expect((await deliver(trigger, body, event)).status).toBe(401);
    const other = bodyOf('d'.repeat(40));
    const signed = { ...event, ...standardHeaders(trigger.secret, other, { id: 'three' }) };
    expect(await deliver(trigger, other, signed)).toMatchObject({ outcome: 'started' });
    // A wrong signature is not made good by the token.
    expect((await deliver(trigger, body, { ...signed, 'x-gitlab-token': trigger.secret })).status).toBe(401);
  });

  const standardHeaders = (secret: string, body: string, { id = randomUUID() as string, at = Date.now() / 1000 } = {}) => {
    const time = String(Math.round(at));
    const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
    const signature = createHmac('sha256', key).update(`${id}.${time}.${body}`).digest('base64');
    return { 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': `v1,${signature}` };
  };

  test('of Standard Webhooks: several, of which one must match; five minutes at most', async () => {
    const trigger = await addTrigger({ provider: 'standard', filter: { events: ['new-data'] } });
    const body = JSON.stringify({ event: 'new-data', repository: 'data/größe', commit, ref: 'main' });
    const right = standardHeaders(trigger.secret, body);
    const several = { ...right, 'webhook-signature': `v1a,xyz v1,${'A'.repeat(43)}= ${right['webhook-signature']}` };
    expect(await deliver(trigger, body, several)).toMatchObject({ status: 202, outcome: 'started' });
    expect(await deliver(trigger, body, { ...right, 'webhook-id': 'other' })).toMatchObject({ status: 401 });
    expect(await deliver(trigger, `${body} `, right)).toMatchObject({ status: 401 });
    for (const seconds of [-310, 310]) {
      const answer = await deliver(trigger, body, standardHeaders(trigger.secret, body, { at: Date.now() / 1000 + seconds }));
      expect(answer).toMatchObject({ status: 401, reason: expect.stringContaining('at most 300 s are accepted') });
      expect(answer.json.remedy).toMatch(/^Set the sender's clock/);
    }
    expect(await deliver(trigger, body, standardHeaders(trigger.secret, body, { at: Date.now() / 1000 - 290 }))).toMatchObject({
      status: 202,
    });
  });

  test('of a rotated secret are accepted beside those of the new one, and secrets are shown nowhere else', async () => {
    const trigger = await addTrigger();
    const { json: rotated } = await call('submitter', 'POST', `/v1/triggers/${trigger.name}/rotate`, { body: { keepHours: 1 } });
    expect(rotated.secret).not.toBe(trigger.secret);
    for (const secret of [trigger.secret, rotated.secret]) {
      const body = push();
      expect(await deliver(trigger, body, githubHeaders(secret, body))).toMatchObject({ outcome: 'started' });
    }
    await call('submitter', 'POST', `/v1/triggers/${trigger.name}/rotate`, { body: { keepHours: 0 } });
    expect((await deliverSigned(trigger, push())).status).toBe(401);
    const { text: view } = await call('viewer', 'GET', `/v1/triggers/${trigger.name}`);
    const { text: audit } = await call('admin', 'GET', '/v1/audit', { query: { limit: '200' } });
    expect(audit).toContain('trigger.rotate');
    for (const secret of [trigger.secret, rotated.secret]) expect(view + audit).not.toContain(secret.slice(6));
    expect((await call('admin', 'DELETE', `/v1/triggers/${trigger.name}`)).status).toBe(204);
    expect(await prisma.sealedSecret.count({ where: { ownerId: rotated.id } })).toBe(0);
  });
});

describe('bounds', () => {
  test('a body of 25 MB is taken, a larger one is not read', async () => {
    const trigger = await addTrigger();
    const start = push({ filler: '' }).replace('"filler":""', '"filler":"');
    const whole = Buffer.alloc(maxHookBytes, 'x');
    whole.write(start.slice(0, start.indexOf('"filler":"') + 10));
    const rest = start.slice(start.indexOf('"filler":"') + 10);
    whole.write(`"${rest}`, maxHookBytes - Buffer.byteLength(`"${rest}`));
    const { address, port } = await listening();
    const post = (headers: Record<string, string | number>, body: Buffer | null) =>
      new Promise<number>((resolve, reject) => {
        const sent = httpRequest({ host: address, port, method: 'POST', path: `/v1/hooks/${trigger.name}`, headers }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        });
        sent.on('error', reject);
        if (body === null) sent.flushHeaders();
        else sent.end(body);
      });
    expect(await post(githubHeaders(trigger.secret, whole), whole)).toBe(202);
    // Refused before a byte of it arrived.
    expect(await post({ 'content-type': 'application/json', 'content-length': maxHookBytes + 1 }, null)).toBe(413);
  });

  async function listening(): Promise<{ address: string; port: number }> {
    const replica = await openReplica();
    const url = new URL(await replica.api.listen({ host: '127.0.0.1', port: 0 }));
    return { address: url.hostname, port: Number(url.port) };
  }

  test('a trigger takes so many deliveries a second, counted after their signature', async () => {
    const trigger = await addTrigger({ filter: { branches: ['none'] } });
    const replica = await openReplica({ bounds: { ...noBounds, deliveriesPerTrigger: 1 } });
    const send = async (secret: string) => {
      const body = push();
      const headers = githubHeaders(secret, body);
      return (await replica.api.inject({ method: 'POST', url: `/v1/hooks/${trigger.name}`, payload: body, headers })).statusCode;
    };
    for (let sent = 0; sent < 5; sent += 1) expect(await send('wrong')).toBe(401);
    expect((await Promise.all([1, 2, 3].map(() => send(trigger.secret)))).sort()).toEqual([200, 200, 429]);
    await waitFor(async () => (await send(trigger.secret)) === 200, { message: 'the allowance to return' });
  });

  test('a trigger that could never work is refused, and only its owner or an admin changes it', async () => {
    const run = { recipe: smallRecipe, dataset: 'toy' };
    const add = (change: object) =>
      call('submitter', 'POST', '/v1/triggers', { body: { name: 'wrong', provider: 'github', run, ...change } });
    const faults = [
      [{ filter: { events: ['issues'] } }, 'The event "issues" is not one of'],
      [{ filter: { events: ['pull_request'], paths: ['a'] } }, 'The filter has paths but not the event push'],
      [{ run: { ...run, dataset: 'absent' } }, 'dataset absent not found'],
    ] as const;
    for (const [change, message] of faults) expect((await add(change)).json.detail).toContain(message);
    const mine = await addTrigger();
    await prisma.trigger.update({ where: { name: mine.name }, data: { owner: 'someone' } });
    expect((await call('submitter', 'DELETE', `/v1/triggers/${mine.name}`)).status).toBe(403);
    expect((await call('submitter', 'POST', `/v1/triggers/${mine.name}/rotate`)).status).toBe(403);
    expect((await call('submitter', 'POST', '/v1/triggers', { body: { name: mine.name, provider: 'github', run } })).json.code).toBe(
      'name_taken',
    );
    expect((await call('admin', 'DELETE', `/v1/triggers/${mine.name}`)).status).toBe(204);
  });
});
