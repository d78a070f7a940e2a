import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunEvent, type RunView, runView, type SubmitRequestInput, stepVersions } from '@cairn/contract';
import { createAttempts, recordPools } from '@cairn/engine';
import { smallRecipe } from '@cairn/engine/testing';
import { newId } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, folder, prisma, call, callAsAttempt } = await openTestApi();
await recordPools(harness.ctx, [
  { name: 'local', executor: 'process', slots: 1, attemptSlots: null },
  { name: 'tasks', executor: 'process', slots: 1, attemptSlots: null },
]);

let variant = 0;
/** A submission whose stages differ from those of every other, so that nothing is reused. */
function submission(change: Partial<SubmitRequestInput> = {}): SubmitRequestInput {
  variant += 1;
  return { recipe: smallRecipe, set: { 'stages.first.seed': variant, 'prepare.testSeed': variant }, ...change };
}
async function submit(change: Partial<SubmitRequestInput> = {}): Promise<RunView> {
  return runView.parse((await call('submitter', 'POST', '/v1/runs', { body: submission(change) })).json);
}
const show = async (runId: string) => runView.parse((await call('viewer', 'GET', `/v1/runs/${runId}`)).json);
const audited = async (target: string) =>
  (await prisma.auditEntry.findMany({ where: { target }, orderBy: { id: 'asc' } })).map((entry) => `${entry.actor} ${entry.action}`);

describe('POST /v1/runs', () => {
  test('creates a run, returns its location and audits the submitter', async () => {
    const answer = await call('submitter', 'POST', '/v1/runs', { body: submission({ name: 'baseline', priority: 5 }) });
    expect(answer.status).toBe(201);
    const view = runView.parse(answer.json);
    expect(answer.headers.location).toBe(`/v1/runs/${view.id}`);
    expect(view).toMatchObject({ name: 'baseline', owner: 'a-submitter', recipe: 'small', dataset: 'toy@1', state: 'queued', priority: 5 });
    expect(view.stepViews.map((step) => [step.name, step.state]).slice(0, 2)).toEqual([
      ['prepare', 'ready'],
      ['first', 'blocked'],
    ]);
    expect(await show(view.id)).toMatchObject({ id: view.id, name: 'baseline' });
    expect(await audited(view.id)).toEqual(['a-submitter run.submit']);
  });

  test('returns the same run for the same key, and rejects the key for another request', async () => {
    const body = submission();
    const headers = { 'idempotency-key': 'once' };
    const [first, second] = await Promise.all([1, 2].map(() => call('submitter', 'POST', '/v1/runs', { body, headers })));
    expect([first?.status, second?.status].toSorted()).toEqual([200, 201]);
    expect(first?.json.id).toBe(second?.json.id);
    expect(await audited(first?.json.id)).toHaveLength(1);
    const other = await call('submitter', 'POST', '/v1/runs', { body: submission(), headers });
    expect(other.json).toMatchObject({ status: 409, code: 'idempotency_conflict' });
  });

  test('keeps the commit, labels and group of the request, and lists runs by their labels', async () => {
    const source = {
      provider: 'github',
      ...{ repository: 'example/landmarks', commit: 'a'.repeat(40), ref: 'wider', pullRequest: 7 },
      url: 'https://code.example.com/example/landmarks/pull/7',
    } as const;
    const labels = { team: 'search', 'example.com/tier': '' };
    const run = await submit({ source, labels, group: 'landmark', onNewer: 'cancel' });
    expect(run).toMatchObject({ origin: { kind: 'person' }, source, labels, group: 'landmark', onNewer: 'cancel' });
    const query = 'label=team=search&label=example.com/tier=';
    expect(await call('viewer', 'GET', `/v1/runs?${query}`)).toMatchObject({ json: { total: 1, items: [{ id: run.id, labels, source }] } });
    expect((await submit()).labels).toEqual({});
    const tooMany = Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`k${n}`, 'v']));
    for (const wrong of [
      { labels: { 'a b': 'c' } },
      { source: { ...source, repository: 'example/../other/repository' } },
      { labels: { a: '-' } },
      { labels: tooMany },
      { group: '../up' },
      { source: { ...source, url: 'javascript:alert(1)' } },
    ])
      expect(await call('submitter', 'POST', '/v1/runs', { body: { ...submission(), ...wrong } })).toMatchObject({ status: 400 });
  });

  test('keeps a key that is repeated from another page of CI, and refuses the keys of the service', async () => {
    const body = submission();
    const source = { provider: 'other', repository: 'r', commit: 'abcdef0', ref: 'main', pullRequest: null, url: null };
    const headers = { 'idempotency-key': 'of-a-job' };
    const first = await call('submitter', 'POST', '/v1/runs', { body: { ...body, source }, headers });
    const again = { ...body, source: { ...source, url: 'https://ci.example.com/2' } };
    expect(await call('submitter', 'POST', '/v1/runs', { body: again, headers })).toMatchObject({
      status: 200,
      json: { id: first.json.id },
    });
    const reserved = { 'idempotency-key': 'schedule:nightly' };
    expect(await call('submitter', 'POST', '/v1/runs', { body, headers: reserved })).toMatchObject({ status: 400 });
  });

  test('returns the plan for a dry run and changes nothing', async () => {
    const before = await prisma.run.count();
    const answer = await call('submitter', 'POST', '/v1/runs', { body: submission(), query: { dryRun: 'true' } });
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ dataset: 'toy@1', recipe: { name: 'small' } });
    expect(answer.json.steps).toContainEqual(expect.objectContaining({ name: 'first', action: 'run', slots: 1 }));
    expect(await prisma.run.count()).toBe(before);
  });

  test.each<[string, unknown, object]>([
    ['an unknown recipe, with the nearest', { recipe: 'mni' }, { status: 404, code: 'unknown_recipe', details: { nearest: 'mini' } }],
    ['a configuration of the reference, with its recipe', { recipe: 'R50_256' }, { status: 404, details: { nearest: 'fast' } }],
    ['the file of one', { recipe: 'configs/GLDv2/SER101ibn_512_all.yml' }, { status: 404, details: { nearest: 'SER101ibn' } }],
    [
      'an unknown setting, with the nearest',
      { recipe: smallRecipe, set: { 'stages.first.epoch': 1 } },
      { status: 400, code: 'unknown_setting', details: { nearest: 'stages.first.epochs' } },
    ],
    ['a setting that is not allowed', { recipe: smallRecipe, set: { 'stages.first.epochs': 0 } }, { status: 400, code: 'invalid_setting' }],
    ['an unknown dataset', { recipe: smallRecipe, dataset: 'gldv2' }, { status: 404, code: 'not_found' }],
    [
      'an unknown field, with the nearest',
      { recipe: 'mini', nane: 'x' },
      { status: 400, code: 'invalid_request', details: { errors: [{ path: 'nane', nearest: 'name' }] } },
    ],
    ['a name that would leave its folder', { recipe: 'mini', name: '../x' }, { status: 400, code: 'invalid_request' }],
  ])('rejects %s', async (_, body, problem) => {
    const before = await prisma.run.count();
    expect((await call('submitter', 'POST', '/v1/runs', { body })).json).toMatchObject(problem);
    expect(await prisma.run.count()).toBe(before);
  });
});

describe('names and ids in paths', () => {
  const id = newId('run');
  test.each([
    '/v1/runs/..%2f..%2fetc%2fpasswd',
    `/v1/runs/${id}%00`,
    `/v1/runs/${id}/steps/..%5cwindows`,
    `/v1/runs/${id}/steps/%2e%2e%2f%2e%2e`,
    '/v1/recipes/..%2fmini',
    '/v1/models/%2e%2e%2f%2e%2e',
    '/v1/datasets/.hidden',
    '/v1/artifacts/%2fetc%2fpasswd',
    '/v1/attempts/..%2fx/logs',
    '/v1/attempts/..%2fx/logs/lines',
  ])('%s is an invalid path', async (path) => {
    expect((await call('admin', 'GET', path)).json).toMatchObject({ status: 400, code: 'invalid_path' });
  });
  test.each(['/v1/runs/run_1', `/v1/runs/${id.toUpperCase()}`, `/v1/runs/${newId('step')}`, `/v1/runs/${'a'.repeat(500)}`])(
    '%.40s is not an id',
    async (path) => {
      expect((await call('admin', 'GET', path)).json).toMatchObject({ status: 400, code: 'invalid_request' });
    },
  );
  test.each(['', '/steps/prepare', '/steps/prepare/metrics', '/events'])('an unknown run is not found (%s)', async (path) => {
    expect((await call('viewer', 'GET', `/v1/runs/${id}${path}`)).json).toMatchObject({ status: 404, code: 'not_found' });
  });
});

test('a run is listed, cancelled and retried, and its history shows it', async () => {
  const run = await submit({ name: 'wanted' });
  const page = await call('viewer', 'GET', '/v1/runs', { query: { name: 'wanted', limit: '1' } });
  expect(page.json).toMatchObject({ items: [{ id: run.id, steps: { total: 9, done: 0, reused: 0 } }], nextCursor: null, total: 1 });
  const found = async (query: string) => (await call('viewer', 'GET', `/v1/runs?${query}`)).json;
  expect(await found('q=WANT&state=queued&state=failed&recipe=small&owner=a-submitter&sort=-mapAt100')).toMatchObject({
    items: [{ id: run.id }],
  });
  expect(await found(`q=want&createdAfter=${encodeURIComponent(run.createdAt)}`)).toMatchObject({ items: [], total: 0 });
  expect(await found('state=gone')).toMatchObject({ status: 400, code: 'invalid_request' });
  expect(await found('sort=seq')).toMatchObject({ status: 400, code: 'invalid_request' });

  const cancelled = await call('submitter', 'POST', `/v1/runs/${run.id}/cancel`, { body: { reason: 'a mistake' } });
  expect(cancelled.json).toMatchObject({ state: 'cancelled', cause: expect.stringMatching(/^by \S+: a mistake$/) });
  const retried = await call('submitter', 'POST', `/v1/runs/${run.id}/retry`);
  expect(retried.json).toMatchObject({ state: 'running' });
  expect((await call('submitter', 'POST', `/v1/runs/${run.id}/retry`)).json).toMatchObject({ status: 409, code: 'wrong_state' });
  expect((await call('submitter', 'POST', `/v1/runs/${newId('run')}/cancel`)).json).toMatchObject({ status: 404 });
  expect(await audited(run.id)).toEqual(['a-submitter run.submit', 'a-submitter run.cancel', 'a-submitter run.retry']);

  const events = await call('viewer', 'GET', `/v1/runs/${run.id}/events`, { query: { after: '1', limit: '2' } });
  expect(events.json.items.map((event: RunEvent) => event.seq)).toEqual([2, 3]);
  expect(events.json.nextSeq).toBe(3);
  const ofStep = async (query: Record<string, string>) =>
    (await call('viewer', 'GET', `/v1/runs/${run.id}/events`, { query: { step: 'prepare', ...query } })).json.items as RunEvent[];
  const all = await ofStep({});
  expect(all.length).toBeGreaterThan(2);
  expect(all.every(({ data }) => 'step' in data && data.step === 'prepare')).toBe(true);
  expect(await ofStep({ before: String(all.at(-1)?.seq), limit: '2' })).toEqual(all.slice(-3, -1));
});

test('steps say why they wait, and keep the reason up to date', async () => {
  const [busy, other] = [await submit({ name: 'busy' }), await submit({ name: 'other' })];
  // Polled until it matches: on a slow machine an expensive view is cached for a moment.
  const waiting = (runId: string, name: string) =>
    expect.poll(async () => (await call('viewer', 'GET', `/v1/runs/${runId}/steps/${name}`)).json.waiting, { timeout: 45_000 });
  await waiting(other.id, 'second').toMatchObject({ code: 'dependencies', sentence: 'waiting for prepare and first' });
  await harness.play(busy.id, 'prepare');
  await harness.play(other.id, 'prepare');
  await createAttempts(harness.ctx, harness.lead, busy.id, (await harness.step(busy.id, 'first')).id, 'local', 1);
  await waiting(busy.id, 'first').toMatchObject({ code: 'launching', sentence: 'an attempt is being started on pool local' });
  const { id: attemptId } = await prisma.attempt.findFirstOrThrow({ where: { runId: busy.id, pool: 'local' } });
  await harness.engine.startAttempt(attemptId, 1, { host: 'here', pid: 1, instance: 'only one', version: 'test', stepVersions });
  await waiting(busy.id, 'first').toBeNull();
  await waiting(other.id, 'first').toMatchObject({
    code: 'capacity',
    sentence: expect.stringMatching(/^needs 1 slot of pool local, where 0 of 1 are free; first of .* holds the rest \(since /),
  });
  // The same as data: the attempt that holds the place.
  expect((await call('viewer', 'GET', `/v1/runs/${other.id}/steps/first`)).json.waitingFor).toEqual([
    { run: { id: busy.id, name: 'busy' }, step: 'first', attemptId, slots: 1 },
  ]);
  expect((await call('viewer', 'GET', `/v1/runs/${other.id}/steps/second`)).json.waitingFor).toEqual([
    { run: { id: other.id, name: 'other' }, step: 'first', attemptId: null, slots: null },
  ]);
  const local = { name: 'local', executor: 'process', slots: 1, busy: 1, waiting: 1, room: null };
  await expect.poll(async () => (await call('viewer', 'GET', '/v1/fleet')).json.pools).toContainEqual(local);
  await prisma.$executeRaw`update leadership set expires_at = now() - interval '1 second'`;
  await waiting(other.id, 'first').toMatchObject({ code: 'no-leader' });
  await prisma.$executeRaw`update leadership set expires_at = now() + interval '1 hour'`;
});

test('an attempt, its log, its curves and its shards are shown', async () => {
  const run = await submit();
  await harness.play(run.id, 'prepare');
  const [attemptId = ''] = await harness.startAttempts(run.id, 'first');
  const items = [
    { type: 'log', stream: 'stdout', offset: 0, text: 'epoch 1\n' },
    { type: 'metrics', name: 'loss', steps: [1, 2], values: [3, 2.5], times: [10, 11] },
    { type: 'metrics', name: 'accuracy', steps: [1], values: [0.5], times: [10] },
    { type: 'progress', done: 2, total: 10, unit: 'steps', rate: 1.5, etaSeconds: 5, message: 'training' },
    { type: 'evaluation', when: 'start', step: 0, mapAt100: 0.2 },
  ];
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: { seq: 1, at: new Date().toISOString(), items } })).toMatchObject({
    status: 200,
    json: { directive: 'continue' },
  });
  const path = `/v1/runs/${run.id}/steps/first`;
  expect((await call('viewer', 'GET', path)).json).toMatchObject({
    progress: { done: 2, rate: 1.5 },
    scores: { 'mapAt100.start': 0.2 },
    attempts: 1,
  });
  expect((await call('viewer', 'GET', `${path}/attempts`)).json).toMatchObject({
    items: [{ id: attemptId, step: 'first', state: 'running', contact: 'ok' }],
  });
  expect((await call('viewer', 'GET', `/v1/attempts/${attemptId}`)).json).toMatchObject({ id: attemptId, ordinal: 1, pool: 'gpu' });
  expect((await call('viewer', 'GET', `${path}/metrics`, { query: { names: 'loss,nothing' } })).json).toMatchObject({
    series: [{ name: 'loss', steps: [1, 2], values: [3, 2.5], times: [10, 11], total: 2 }],
    decimated: false,
    attempts: [{ id: attemptId, resumedFrom: null, firstStep: 1, lastStep: 2 }],
  });
  expect((await call('viewer', 'GET', `/v1/attempts/${attemptId}/logs`)).json).toEqual({
    stream: 'stdout',
    offset: 0,
    nextOffset: 8,
    text: 'epoch 1\n',
    end: false,
    size: 8,
  });
  expect((await call('viewer', 'GET', `/v1/attempts/${attemptId}/logs`, { query: { stream: 'stdin' } })).json).toMatchObject({
    code: 'invalid_request',
  });

  await callAsAttempt(attemptId, 'POST', '/finish', {
    body: { outcome: 'succeeded', files: [harness.file('a', attemptId)], details: { step: 2, mapAt100End: 0.6 } },
  });
  await harness.finalize(run.id, 'first');
  const first = (await call('viewer', 'GET', path)).json;
  expect(first).toMatchObject({ state: 'succeeded', scores: { 'mapAt100.start': 0.2, 'mapAt100.end': 0.6 } });
  expect((await call('viewer', 'GET', `/v1/artifacts/${first.artifact.id}`)).json).toMatchObject({
    kind: 'checkpoint',
    state: 'ready',
    location: `${folder}/checkpoints/${first.artifact.id}/`,
    details: { step: 2 },
    files: [{ name: 'a' }],
  });

  await harness.play(run.id, 'second');
  await harness.play(run.id, 'export');
  const shards = (await call('viewer', 'GET', `/v1/runs/${run.id}/steps/extract_index/shards`)).json;
  expect(shards.counts).toEqual({ total: 3, committed: 0, leased: 0, rows: 0, rejected: 0 });
  expect(shards.items.map((shard: { state: string }) => shard.state)).toEqual(['pending', 'pending', 'pending']);
});

test('a finished run has a model, and a second one reuses its steps with their scores', async () => {
  const body = submission();
  const first = (await call('submitter', 'POST', '/v1/runs', { body })).json.id;
  await harness.playAll(first);
  expect(await show(first)).toMatchObject({ state: 'succeeded', steps: { total: 9, done: 9, reused: 0 } });
  expect((await call('viewer', 'GET', '/v1/models')).json.items).toMatchObject([{ name: 'toy', runId: first }]);
  expect((await call('viewer', 'GET', '/v1/models/toy')).json.items[0]).toMatchObject({ metrics: { mapAt100: 0.5 } });
  const second = (await call('submitter', 'POST', '/v1/runs', { body })).json.id;
  const evaluate = (await show(second)).stepViews.find((step) => step.name === 'evaluate');
  expect(evaluate).toMatchObject({ state: 'reused', reusedFrom: { runId: first }, scores: { mapAt100: 0.5 } });
});

test('an admin collects garbage, which is audited unless nothing was done', async () => {
  expect((await call('admin', 'POST', '/v1/gc', { body: { dryRun: true, olderThanHours: 0 } })).json).toMatchObject({ dryRun: true });
  expect(await audited('storage')).toEqual([]);
  expect((await call('admin', 'POST', '/v1/gc')).json).toMatchObject({ dryRun: false, artifacts: [] });
  expect(await audited('storage')).toEqual(['a-admin garbage.collect']);
});

test('garbage collection removes interrupted uploads, but none that may be in progress', async () => {
  const unfinished = join(folder, '.unfinished');
  await mkdir(unfinished, { recursive: true });
  for (const [name, hours] of [
    ['old', 25],
    ['young', 23],
  ] as const) {
    await writeFile(join(unfinished, name), 'half');
    const time = Date.now() / 1000 - hours * 3600;
    await utimes(join(unfinished, name), time, time);
  }
  await call('admin', 'POST', '/v1/gc', { body: { dryRun: true, olderThanHours: 0 } });
  expect((await readdir(unfinished)).toSorted()).toEqual(['old', 'young']);
  await call('admin', 'POST', '/v1/gc', { body: { olderThanHours: 0 } });
  expect(await readdir(unfinished)).toEqual(['young']);
});

test('the built-in recipes are shown, and an unknown one with the nearest name', async () => {
  const { items } = (await call('viewer', 'GET', '/v1/recipes')).json;
  expect(items).toContainEqual(expect.objectContaining({ name: 'mini', stages: expect.arrayContaining(['384']), models: [] }));
  const models = ['SER101ibn', 'RXt101ibn', 'ResNeSt101', 'ResNeSt269'];
  expect(items).toContainEqual(expect.objectContaining({ name: 'submission', stages: [], models }));
  expect((await call('viewer', 'GET', '/v1/recipes/mini')).json).toMatchObject({
    recipe: { name: 'mini' },
    yaml: expect.stringContaining('stages:'),
  });
  expect((await call('viewer', 'GET', '/v1/recipes/mni')).json).toMatchObject({
    status: 404,
    code: 'unknown_recipe',
    details: { nearest: 'mini' },
  });
});

test('tokens are created, listed without their secret, and revoked', async () => {
  const made = await call('admin', 'POST', '/v1/tokens', { body: { name: 'ci', role: 'viewer', expiresInDays: 2 } });
  expect(made.status).toBe(201);
  const { secret, ...view } = made.json;
  expect(Date.parse(view.expiresAt) - Date.now()).toBeGreaterThan(47 * 3_600_000);
  const asCi = () => call(null, 'GET', '/v1/runs', { headers: { authorization: `Bearer ${secret}` } });
  expect((await asCi()).status).toBe(200);
  expect((await call('admin', 'POST', '/v1/tokens', { body: { name: 'ci', role: 'admin' } })).json).toMatchObject({
    status: 409,
    code: 'name_taken',
  });
  const listed = await call('admin', 'GET', '/v1/tokens');
  expect(listed.json.items.map((token: { name: string }) => token.name)).toEqual(['a-viewer', 'a-submitter', 'a-admin', 'ci']);
  expect(listed.text).not.toContain(secret);
  expect(await call('admin', 'DELETE', `/v1/tokens/${view.id}`)).toMatchObject({ status: 204, text: '' });
  expect((await asCi()).status).toBe(401);
  expect((await call('admin', 'DELETE', `/v1/tokens/${view.id}`)).json).toMatchObject({ status: 404 });
  expect((await call('admin', 'GET', '/v1/audit', { query: { limit: '3' } })).json.items).toMatchObject([
    // Calls with the revoked token are recorded by token id, since its name may be reused.
    { actor: 'ci', tokenId: view.id, action: 'call.refused', target: 'GET /v1/runs', details: { code: 'unauthenticated' } },
    { actor: 'a-admin', tokenId: expect.stringMatching(/^tok_/), action: 'token.revoke', target: view.id },
    { actor: 'a-admin', action: 'token.create', target: view.id, after: { name: 'ci', role: 'viewer' } },
  ]);
  // The name of a revoked token is free again.
  expect((await call('admin', 'POST', '/v1/tokens', { body: { name: 'ci', role: 'viewer' } })).status).toBe(201);
});

test('metrics count runs by state, and do not name a run', async () => {
  const run = await submit();
  const { text, headers } = await call('viewer', 'GET', '/metrics');
  expect(headers['content-type']).toContain('text/plain');
  expect(text).toMatch(/cairn_runs\{state="succeeded"\} [1-9]/);
  expect(text).toContain('cairn_database_up 1');
  expect(text).toMatch(/cairn_http_public_request_seconds_count\{method="POST",route="\/v1\/runs",status="201"\} \d/);
  expect(text).toContain('cairn_attempts_live{state="running"} 1');
  expect(text).not.toContain(run.id);
});

test.each(['/v1/gc', '/v1/runs/run_00000000000000000000000000/cancel', '/v1/runs/run_00000000000000000000000000/retry'])(
  'a null body to %s is not treated as a missing body',
  async (url) => {
    const { json } = await call('admin', 'POST', url, { body: null });
    expect(json).toMatchObject({ code: 'invalid_request', detail: expect.stringContaining('is null') });
  },
);
