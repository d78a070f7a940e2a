import { createHmac, randomUUID } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { hookAnswer, maxHookBytes, type triggerRequest } from '@cairn/contract';
import { hintChannel, listen } from '@cairn/db';
import { removeOldDeliveries, startAcceptedDeliveries } from '@cairn/engine';
import { smallRecipe } from '@cairn/engine/testing';
import { waitFor } from '@cairn/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { z } from 'zod';
import { noBounds, openTestApi } from '../testing/test-api.ts';

const { call, api, prisma, harness, openReplica } = await openTestApi();

type Trigger = { name: string; secret: string };
let count = 0;
async function addTrigger(change: Partial<z.input<typeof triggerRequest>> = {}): Promise<Trigger> {
  count += 1;
  const body = { name: `trigger-${count}`, provider: 'github', run: { recipe: smallRecipe, dataset: 'toy' }, ...change };
  const { status, json, text } = await call('submitter', 'POST', '/v1/triggers', { body });
  expect(status, text).toBe(201);
  return json;
}

const commit = 'c'.repeat(40);
const push = (change: object = {}): string =>
  JSON.stringify({
    ref: 'refs/heads/main',
    before: 'b'.repeat(40),
    after: commit,
    repository: { full_name: 'example/landmarks' },
    head_commit: { id: commit, url: 'https://github.com/example/landmarks/commit/c' },
    commits: [{ added: [], modified: ['recipes/größe.yaml'], removed: [], message: 'Ändere die Größe 🗻\u2028\ud83d\ude00' }],
    // As in a real push, no two bodies are the same.
    pushed_at: randomUUID(),
    ...change,
  });
const pull = (fork: boolean): string =>
  JSON.stringify({
    action: 'opened',
    number: 7,
    repository: { id: 1, full_name: 'example/landmarks' },
    pull_request: {
      html_url: `https://github.com/example/landmarks/pull/7?${randomUUID()}`,
      head: { sha: commit, ref: 'topic', repo: { id: fork ? 2 : 1, full_name: 'someone/landmarks' } },
      base: { ref: 'main' },
      labels: [],
    },
  });

const githubHeaders = (secret: string, body: string | Buffer, { id = randomUUID() as string, event = 'push' } = {}) => ({
  'content-type': 'application/json',
  'x-github-event': event,
  'x-github-delivery': id,
  'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
});

async function deliver({ name }: Trigger, body: string | Buffer, headers: Record<string, string>) {
  const { statusCode, body: text } = await api.inject({ method: 'POST', url: `/v1/hooks/${name}`, payload: body, headers });
  const json = JSON.parse(text);
  return {
    status: statusCode,
    json,
    ...(statusCode < 300 ? hookAnswer.parse(json) : { outcome: json.code, reason: json.detail, runId: null }),
  };
}
const deliverSigned = (trigger: Trigger, body: string, options: { id?: string; event?: string } = {}) =>
  deliver(trigger, body, githubHeaders(trigger.secret, body, options));
const rowsOf = ({ name }: Trigger) => prisma.hookDelivery.findMany({ where: { trigger: { name } }, orderBy: { id: 'asc' } });
const runsOf = async ({ name }: Trigger) =>
  (await prisma.run.findMany()).filter(({ origin }) => JSON.stringify(origin).includes(`"${name}"`));

describe('a delivery', () => {
  test('starts one run, whose origin, source and group it gives, however often and by however many it is delivered', async () => {
    const trigger = await addTrigger({
      filter: { branches: ['main'], paths: ['recipes/**'] },
      run: { recipe: smallRecipe, dataset: 'toy', labels: { by: 'ci' }, gate: { gate: 'mAP@100 >= 50 %' } },
    });
    const body = push();
    const id = randomUUID();
    const answers = await Promise.all(Array.from({ length: 20 }, () => deliverSigned(trigger, body, { id })));
    expect(new Set(answers.map(({ runId }) => runId)).size).toBe(1);
    expect(answers.filter(({ outcome }) => outcome === 'repeated').length).toBe(19);
    const [first] = answers.filter(({ outcome }) => outcome === 'started');
    expect(first).toMatchObject({ status: 202, reason: 'push to main' });

    const { json: run } = await call('viewer', 'GET', `/v1/runs/${first?.runId}`);
    expect(run).toMatchObject({
      owner: 'a-submitter',
      origin: { kind: 'trigger', trigger: trigger.name, delivery: first?.json.delivery },
      source: { provider: 'github', repository: 'example/landmarks', commit, ref: 'main', pullRequest: null },
      group: `${trigger.name}-main`,
      onNewer: 'cancel',
      labels: { by: 'ci' },
      gate: { gate: 'mAP@100 >= 50 %', state: 'waiting' },
    });
    // The signature covers the body alone: another id does not make it another delivery.
    expect(await deliverSigned(trigger, body, { id: randomUUID() })).toMatchObject({ status: 200, outcome: 'repeated', runId: run.id });
    expect(await runsOf(trigger)).toHaveLength(1);
    expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'started', repeats: 20, request: null }]);

    // A newer push takes its place.
    const newer = await deliverSigned(trigger, push());
    expect(newer).toMatchObject({ status: 202, outcome: 'started' });
    const runsOfGroup = await prisma.run.findMany({ where: { group: `${trigger.name}-main` }, orderBy: { createdAt: 'asc' } });
    expect(runsOfGroup.map(({ id, state, cancelCause }) => [id, state, cancelCause])).toEqual([
      [run.id, 'cancelled', 'superseded'],
      [newer.runId, 'queued', null],
    ]);
  });

  test('that the filter does not take is answered with the reason', async () => {
    const trigger = await addTrigger({ filter: { branches: ['release/**'] } });
    expect(await deliverSigned(trigger, push())).toMatchObject({
      status: 200,
      outcome: 'ignored',
      reason: 'the branch main is not one of release/**',
    });
    expect(await deliverSigned(trigger, '{"zen":"x"}', { event: 'ping' })).toMatchObject({ status: 200, outcome: 'ignored' });
    expect(await deliverSigned(trigger, '{"ref":1}')).toMatchObject({ status: 400, outcome: 'invalid_request' });
    // A name that would lead elsewhere at the code host.
    const elsewhere = push({ repository: { full_name: 'example/../victim/secret' } });
    expect(await deliverSigned(trigger, elsewhere)).toMatchObject({ status: 400, outcome: 'invalid_request' });
    expect(await deliverSigned(trigger, 'not json')).toMatchObject({ status: 400 });
    const { json } = await call('viewer', 'GET', `/v1/triggers/${trigger.name}/deliveries`, { query: { outcome: 'refused' } });
    expect(json.items).toMatchObject([
      { key: null },
      { key: null, reason: expect.stringContaining('repository.full_name') },
      { key: null, reason: expect.stringContaining('it is not a delivery of GitHub: ref') },
    ]);
  });

  test('of a fork waits for a person, who starts it once', async () => {
    const trigger = await addTrigger({ filter: { events: ['pull_request'] } });
    const hints: unknown[] = [];
    const [over, connected] = [new AbortController(), Promise.withResolvers<void>()];
    onTestFinished(() => over.abort());
    listen({
      ...{ url: harness.databaseUrl, channels: [hintChannel], onConnect: connected.resolve, onError: connected.reject },
      onNotification: (_, payload) => void hints.push(JSON.parse(payload)),
      signal: over.signal,
    });
    await connected.promise;
    await deliverSigned(trigger, push(), { event: 'push' });
    const held = await deliverSigned(trigger, pull(true), { event: 'pull_request' });
    // No run changes, but what needs a person does; an ignored delivery changes nothing.
    await expect.poll(() => hints, { timeout: 10_000 }).toEqual([{ topic: 'runs', what: 'run' }]);
    expect(held).toMatchObject({ status: 202, outcome: 'held', runId: null });
    const waiting = async () =>
      (await call('viewer', 'GET', '/v1/attention')).json.items.filter((item: { id: string }) => item.id === held.json.delivery);
    expect(await waiting()).toMatchObject([
      {
        kind: 'held-delivery',
        sentence: expect.stringMatching(
          /^The trigger \S+ holds a delivery: .*; it is from a fork, so it waits until a person releases it\.$/,
        ),
        delivery: { trigger: trigger.name, source: { pullRequest: 7 } },
      },
    ]);
    const path = `/v1/triggers/${trigger.name}/deliveries/${held.json.delivery}/release`;
    expect((await call('viewer', 'POST', path)).status).toBe(403);
    const answers = await Promise.all([1, 2, 3].map(() => call('submitter', 'POST', path)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409, 409]);
    expect(await runsOf(trigger)).toMatchObject([{ source: { pullRequest: 7 }, group: `${trigger.name}-pr-7` }]);
    expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'ignored' }, { outcome: 'started', releasedBy: 'a-submitter' }]);
    expect(await waiting()).toEqual([]);
    expect(await prisma.auditEntry.findMany({ where: { action: 'delivery.release' } })).toMatchObject([{ target: held.json.delivery }]);
    expect(await deliverSigned(trigger, pull(false), { event: 'pull_request' })).toMatchObject({ outcome: 'started' });
  });

  test('is started by the leader when its program died after it was accepted, and once', async () => {
    const trigger = await addTrigger();
    const first = await deliverSigned(trigger, push());
    // As if the program had died before it recorded the run, and before it submitted it.
    const data = { outcome: 'accepted', runId: null, notBefore: new Date(0) };
    const run = await prisma.run.findUniqueOrThrow({ where: { id: first.runId ?? '' } });
    const submission = { recipe: smallRecipe, dataset: 'toy', source: run.source, group: run.group, onNewer: 'cancel' };
    await prisma.hookDelivery.update({ where: { id: first.json.delivery }, data: { ...data, request: submission as object } });
    await Promise.all([1, 2, 3].map(() => startAcceptedDeliveries(harness.ctx, AbortSignal.timeout(30_000))));
    expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'started', runId: first.runId }]);
    expect(await runsOf(trigger)).toHaveLength(1);
  });

  test('whose run is refused for now is tried again, and one whose run can never start fails, until it is delivered again', async () => {
    await prisma.dataset.create({
      data: {
        id: 'dst_01k00000000000000000000000',
        projectId: 'default',
        owner: 'ada',
        name: 'passing',
        version: 1,
        source: {},
        digest: 'a',
        digestBasis: 'test',
      },
    });
    const trigger = await addTrigger({ run: { recipe: smallRecipe, dataset: 'passing' } });
    await prisma.dataset.delete({ where: { id: 'dst_01k00000000000000000000000' } });
    const body = push();
    expect(await deliverSigned(trigger, body)).toMatchObject({
      status: 202,
      outcome: 'failed',
      reason: expect.stringContaining('dataset passing not found'),
    });
    const { limits } = harness.ctx;
    const most = limits.ownerRuns;
    limits.ownerRuns = 1;
    try {
      await prisma.trigger.update({ where: { name: trigger.name }, data: { run: { recipe: smallRecipe, dataset: 'toy' } as object } });
      const other = await deliverSigned(trigger, push());
      expect(other).toMatchObject({ status: 202, outcome: 'accepted', reason: expect.stringContaining('CAIRN_OWNER_RUNS') });
      limits.ownerRuns = most;
      await prisma.hookDelivery.update({ where: { id: other.json.delivery }, data: { notBefore: new Date(0) } });
      await startAcceptedDeliveries(harness.ctx, AbortSignal.timeout(30_000));
      expect(await rowsOf(trigger)).toMatchObject([{ outcome: 'failed' }, { outcome: 'started', tries: 1 }]);
    } finally {
      limits.ownerRuns = most;
    }
    expect((await deliverSigned(trigger, body)).reason).toContain('was failed: the run could not be started');
    expect((await rowsOf(trigger))[0]).toMatchObject({ outcome: 'failed', repeats: 1 });
  });

  test('is kept for a week, and of refused ones the newest', async () => {
    const trigger = await addTrigger();
    const { id: triggerId } = await prisma.trigger.findUniqueOrThrow({ where: { name: trigger.name } });
    const row = { triggerId, digest: 'd', event: 'push', subject: '', reason: '', address: '::1' };
    const refused = Array.from({ length: 4 }, (_, index) => ({
      ...row,
      id: `r${10_000 + index}`,
      key: `r${index}`,
      outcome: 'refused',
    }));
    const old = new Date(Date.now() - 8 * 86_400_000);
    await prisma.hookDelivery.createMany({
      data: [
        ...refused,
        { ...row, id: 'old', key: 'old', outcome: 'ignored', receivedAt: old },
        { ...row, id: 'new', key: 'new', outcome: 'ignored' },
      ],
    });
    await removeOldDeliveries(harness.ctx, { keptRefusals: 2 });
    const left = (await rowsOf(trigger)).map(({ id }) => id);
    expect(left).toHaveLength(3);
    expect(left).toEqual(expect.arrayContaining(['new', 'r10002', 'r10003']));
  });
});

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
