import { readdir, readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { type Recipe, weightsView } from '@cairn/contract';
import { ada, request as planRequest } from '@cairn/engine/testing';
import { sha256 } from '@cairn/runtime';
import { readManifest } from '@cairn/storage';
import { expect, test } from 'vitest';
import { noBounds, openTestApi } from '../testing/test-api.ts';

const { api, call, folder, openReplica, prisma, secrets, harness, store } = await openTestApi();

const file = (text: string) => Buffer.from(text.repeat(1000));
const declared = (octets: Buffer, over: Record<string, string> = {}) => ({ backbone: 'resnet18', sha256: sha256(octets), ...over });
const put = (name: string, octets: Buffer, over: Record<string, string> = {}) =>
  call('submitter', 'PUT', `/v1/weights/${name}`, { octets, query: declared(octets, over) });
const withWeights = (name: string, over: Record<string, unknown> = {}) => ({ set: { 'stages.first.weights': name, ...over } });
/** The files in the store below a folder. */
const stored = async (name: string) => (await readdir(join(folder, name)).catch(() => [])).length;
const notDeleted = () => prisma.artifact.count({ where: { kind: 'weights', state: { not: 'deleting' } } });

test('a file is stored with its digest, source and licence, and is listed', async () => {
  const octets = file('first');
  const answer = await put('resnet18-first', octets, { source: 'https://example.org/a.pth', licence: 'BSD-3-Clause' });
  expect(answer).toMatchObject({ status: 201, headers: { location: '/v1/weights/resnet18-first' } });
  const view = weightsView.parse(answer.json);
  expect(view).toMatchObject({
    name: 'resnet18-first',
    content: 'backbone',
    backbone: 'resnet18',
    sha256: sha256(octets),
    bytes: octets.length,
    source: 'https://example.org/a.pth',
    licence: 'BSD-3-Clause',
    owner: 'a-submitter',
  });
  expect(await readFile(join(folder, `weights/${view.artifactId}/weights.pth`))).toEqual(octets);
  expect(await readManifest(store, `weights/${view.artifactId}`)).toMatchObject({ kind: 'weights', details: { licence: 'BSD-3-Clause' } });
  expect(await stored('staging')).toBe(0);
  expect((await call('viewer', 'GET', '/v1/weights')).json).toEqual({ items: [view], nextCursor: null });
  expect((await call('viewer', 'GET', '/v1/weights/resnet18-first')).json).toEqual(view);
  const [audit] = await prisma.auditEntry.findMany({ where: { action: 'weights.import' } });
  expect(audit).toMatchObject({ target: view.id, actor: 'a-submitter' });
});

test('importing the same file again changes nothing, under another name it is stored once, and another file under the name is rejected', async () => {
  const octets = file('second');
  const first = await put('second', octets);
  expect(await put('second', octets)).toMatchObject({ status: 200, json: first.json });
  const before = await notDeleted();
  const alias = await put('second-alias', octets);
  expect(alias).toMatchObject({ status: 201, json: { artifactId: first.json.artifactId } });
  expect(await notDeleted()).toBe(before);
  expect(await put('second', file('other'))).toMatchObject({
    status: 409,
    json: { code: 'name_taken', detail: expect.stringContaining(`sha256 ${sha256(octets)}, not`) },
  });
  expect(await put('second', octets, { backbone: 'resnet50' })).toMatchObject({ status: 409 });
  // A file that is rejected for its name is not stored first.
  expect(await prisma.artifact.count({ where: { state: 'deleting' } })).toBe(0);
});

test('a matcher is stored without a backbone, and is what an ensemble names, not what a stage starts from', async () => {
  const octets = file('matcher');
  const query = { content: 'matcher', sha256: sha256(octets) };
  const first = await call('submitter', 'PUT', '/v1/weights/points', { octets, query });
  expect(first).toMatchObject({ status: 201, json: { content: 'matcher', backbone: 'lightglue-end2end' } });
  const { artifactId } = first.json;
  expect(await readFile(join(folder, `matchers/${artifactId}/matcher.onnx`))).toEqual(octets);
  expect(await readManifest(store, `matchers/${artifactId}`)).toMatchObject({ kind: 'matcher', details: { imported: 'points' } });
  expect(await call('submitter', 'PUT', '/v1/weights/points', { octets, query })).toMatchObject({ status: 200, json: first.json });
  expect((await put('other', octets, { content: 'matcher' })).json).toMatchObject({ detail: 'A matcher has no backbone' });
  const tensors = await call('submitter', 'PUT', '/v1/weights/other', { octets, query: { sha256: query.sha256 } });
  expect(tensors.json).toMatchObject({ code: 'invalid_request', detail: 'A backbone requires its backbone' });

  await expect(harness.submit(withWeights('points'))).rejects.toMatchObject({
    code: 'model_mismatch',
    message: 'stages.first.weights is points, which contains a matcher of images; only a backbone or a whole model is required',
  });
  const { model, stages, export: exported, extract } = planRequest().recipe as Recipe;
  const rerank = { localMatching: {} };
  const planWith = (matcher: string) =>
    harness.engine.planRun(
      planRequest({
        recipe: {
          name: 'matched',
          dataset: 'toy',
          models: { A: { model, stages, export: exported, extract } },
          ensemble: { matcher, rerank },
        },
      }),
      ada,
    );
  const { steps } = await planWith('points');
  const step = steps.find(({ name }) => name === 'rerank');
  expect(step).toMatchObject({ given: [{ role: 'matcher', name: 'points', sha256: query.sha256 }] });
  await expect(harness.submit({ recipe: { ...(await planWith('none')).recipe } })).rejects.toMatchObject({
    message: 'ensemble.matcher names the weights none, which are not imported',
    details: { remedy: 'Import them: `cairn import matcher none.onnx`.' },
  });
  await put('trained', file('trained'));
  await expect(planWith('trained')).rejects.toMatchObject({
    message: 'ensemble.matcher is trained, which contains only a backbone; a matcher of images is required',
  });
});

test('of many concurrent imports under the same name one stores it', async () => {
  const octets = file('at once');
  const answers = await Promise.all(Array.from({ length: 5 }, () => put('at-once', octets)));
  expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 200, 201]);
  expect(new Set(answers.map(({ json }) => json.artifactId)).size).toBe(1);
  expect(await prisma.artifact.count({ where: { state: 'ready', details: { path: ['imported'], equals: 'at-once' } } })).toBe(1);
});

test('an upload that differs from its declaration leaves nothing behind', async () => {
  const before = [await notDeleted(), await prisma.weights.count()];
  const octets = file('cut off');
  const answer = await call('submitter', 'PUT', '/v1/weights/cut', { octets: octets.subarray(1), query: declared(octets) });
  expect(answer).toMatchObject({ status: 422, json: { code: 'content_mismatch' } });
  expect([await notDeleted(), await prisma.weights.count()]).toEqual(before);
  expect(await stored('staging')).toBe(0);
});

test('a known SHA-256 does not admit other bytes, neither under the existing name nor under a new one', async () => {
  const octets = file('known');
  expect((await put('known', octets)).status).toBe(201);
  const names = await prisma.weights.count();
  for (const name of ['known', 'known-too'])
    for (const others of [file('something else'), Buffer.alloc(0), octets.subarray(1)])
      expect(await call('submitter', 'PUT', `/v1/weights/${name}`, { octets: others, query: declared(octets) })).toMatchObject({
        status: 422,
        json: { code: 'content_mismatch', detail: expect.stringContaining(`Received ${others.length} bytes`) },
      });
  expect(await prisma.weights.count()).toBe(names);
});

test('a client that disconnects midway leaves nothing behind', async () => {
  const before = [await notDeleted(), await prisma.weights.count()];
  const url = new URL(await api.listen({ host: '127.0.0.1', port: 0 }));
  const query = new URLSearchParams(declared(file('gone')));
  const request = httpRequest(new URL(`/v1/weights/gone?${query}`, url), {
    method: 'PUT',
    headers: { authorization: `Bearer ${secrets.submitter}`, 'content-type': 'application/octet-stream', 'content-length': 1_000_000 },
  });
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  request.on('error', () => resolve());
  request.write(Buffer.alloc(1000));
  await expect.poll(() => prisma.artifact.count({ where: { kind: 'weights', state: 'building' } })).toBe(1);
  request.destroy();
  await gone;
  await expect.poll(() => prisma.artifact.count({ where: { kind: 'weights', state: 'building' } })).toBe(0);
  expect([await notDeleted(), await prisma.weights.count()]).toEqual(before);
  await expect.poll(() => stored('staging')).toBe(0);
});

test('an insufficient role, a missing body, invalid fields and an oversized file are rejected', async () => {
  const octets = file('roles');
  expect((await call('viewer', 'PUT', '/v1/weights/a', { octets, query: declared(octets) })).status).toBe(403);
  expect((await call('submitter', 'PUT', '/v1/weights/a', { query: declared(octets) })).json).toMatchObject({ code: 'invalid_request' });
  expect((await put('a', octets, { backbone: 'resnet5' })).json).toMatchObject({ code: 'invalid_request' });
  expect((await put('a', octets, { content: 'model' })).json).toMatchObject({
    detail: expect.stringContaining('embeddingDim and classes'),
  });
  expect((await call('submitter', 'POST', '/v1/runs', { octets })).json.detail).toContain('This route accepts JSON only');
  const large = { 'content-length': String(9 * 1024 ** 3), 'content-type': 'application/octet-stream' };
  expect((await call('submitter', 'PUT', '/v1/weights/a', { headers: large, query: declared(octets) })).json).toMatchObject({
    code: 'payload_too_large',
  });
});

test('a run starts from weights by their digest, and keeps them when their name is removed', async () => {
  const name = 'resnet18-start';
  await expect(harness.submit(withWeights(name))).rejects.toMatchObject({
    code: 'not_found',
    message: `stages.first.weights names the weights ${name}, which are not imported`,
    details: { remedy: expect.stringContaining(`\`cairn import weights ${name}.pth --backbone resnet18\``) },
  });
  const { json } = await put(name, file('start'));
  const { steps } = await harness.engine.planRun({ ...planRequest(), ...withWeights(name) }, ada);
  expect(steps.find((step) => step.name === 'first')).toMatchObject({ given: [{ role: 'weights', name, sha256: json.sha256 }] });

  const runId = await harness.submit(withWeights(name));
  await harness.play(runId, 'prepare');
  const [attempt = ''] = await harness.startAttempts(runId, 'first');
  const spec = await harness.engine.attemptSpec(attempt, 1, 1);
  expect(spec.inputs.weights).toMatchObject({
    kind: 'weights',
    prefix: `weights/${json.artifactId}/`,
    files: [{ name: 'weights.pth', sha256: json.sha256 }],
  });
  const memo = await harness.step(runId, 'first');
  expect(memo.artifact?.memoParts).toMatchObject({ inputs: { weights: json.sha256 } });

  expect((await call('admin', 'DELETE', `/v1/weights/${name}`)).status).toBe(204);
  await prisma.artifact.updateMany({ data: { createdAt: new Date(0) } });
  const collected = (await call('admin', 'POST', '/v1/gc', { body: { olderThanHours: 0 } })).json;
  expect(collected.artifacts.map(({ id }: { id: string }) => id)).not.toContain(json.artifactId);
});

test('garbage collection removes weights that no name and no run refers to, and imports interrupted a day ago', async () => {
  const [kept, dropped] = [(await put('kept', file('kept'))).json, (await put('dropped', file('dropped'))).json];
  await call('admin', 'DELETE', '/v1/weights/dropped');
  const old = { id: 'art_00000000000000000000000000', projectId: 'default', kind: 'weights', state: 'building', prefix: 'weights/old/' };
  await prisma.artifact.create({ data: { ...old, stepName: '' } });
  await prisma.artifact.updateMany({
    where: { id: { in: [old.id, kept.artifactId, dropped.artifactId] } },
    data: { createdAt: new Date(0) },
  });
  const collect = async (dryRun: boolean): Promise<string[]> =>
    (await call('admin', 'POST', '/v1/gc', { body: { olderThanHours: 0, dryRun } })).json.artifacts.map(({ id }: { id: string }) => id);
  const planned = await collect(true);
  const ids = await collect(false);
  expect(ids.toSorted()).toEqual(planned.toSorted());
  expect(ids).toEqual(expect.arrayContaining([dropped.artifactId, old.id]));
  expect(ids).not.toContain(kept.artifactId);
  expect(harness.removed).toEqual(expect.arrayContaining([`weights/${dropped.artifactId}/`, `staging/${old.id}/`]));
});

test('a run cannot start from weights of another backbone, extent or kind', async () => {
  await put('of-resnet50', file('of-resnet50'), { backbone: 'resnet50' });
  await put('without-se', file('without-se'), { extent: 'upstream' });
  await put('whole', file('whole'), { content: 'model', embeddingDim: '64', classes: '9' });
  const refused = (name: string, over?: Record<string, unknown>) => expect(harness.submit(withWeights(name, over))).rejects;
  await refused('of-resnet50').toThrow('has the backbone resnet50; model.backbone is resnet18');
  await refused('without-se').toThrow('stages.first.weightsExtent is all');
  await refused('whole').toThrow('produces features of length 64; model.embeddingDim is 512');
  expect(await harness.submit(withWeights('without-se', { 'stages.first.weightsExtent': 'upstream' }))).toMatch(/^run_/);
});

test('a stage starts from an imported model as from a previous stage: it reads its checkpoint, and the digest is part of the memo key', async () => {
  const { json } = await put('to-go-on-from', file('to-go-on-from'), { content: 'model', embeddingDim: '512', classes: '9' });
  const runId = await harness.submit({ ...withWeights('to-go-on-from'), noReuse: ['prepare'] });
  await harness.play(runId, 'prepare');
  const [attempt = ''] = await harness.startAttempts(runId, 'first');
  expect((await harness.engine.attemptSpec(attempt, 1, 1)).inputs.weights).toMatchObject({
    kind: 'checkpoint',
    files: [{ name: 'checkpoint.pt', sha256: json.sha256 }],
  });
  expect((await harness.step(runId, 'first')).artifact?.memoParts).toMatchObject({ inputs: { weights: json.sha256 } });
  const { recipe } = planRequest();
  const backbone = await put('no-model', file('no-model'));
  expect(backbone.status).toBe(201);
  const exporting = { ...(recipe as object), stages: {}, export: { imageSize: 32, weights: 'no-model' } };
  await expect(harness.submit({ recipe: exporting as never })).rejects.toThrow('contains only a backbone; a whole model is required');
});

test('a recipe of the reference can be submitted once its weights are imported', async () => {
  const submit = () => harness.submit({ recipe: 'fast', dataset: 'toy' });
  await expect(submit()).rejects.toMatchObject({
    details: { remedy: expect.stringContaining('`cairn import weights resnet50-19c8e357.pth --backbone resnet50`') },
  });
  const { json } = await put('resnet50-19c8e357', file('published'), { backbone: 'resnet50' });
  const { id } = await harness.step(await submit(), '256');
  const { given } = await prisma.step.findUniqueOrThrow({ where: { id } });
  expect(given).toEqual([{ role: 'weights', name: 'resnet50-19c8e357', artifactId: json.artifactId, sha256: json.sha256 }]);
});

test('an imported model is exported instead of a stage, and registered', async () => {
  const { json } = await put('theirs', file('theirs'), { content: 'model', embeddingDim: '64', classes: '9' });
  const { recipe } = planRequest();
  if (typeof recipe === 'string' || !recipe.model || !recipe.export) throw new Error('a whole recipe is expected');
  const { model, export: exported } = recipe;
  const imported = { ...recipe, model: { ...model, embeddingDim: 64 }, stages: {} };
  const submit = (over: object) => harness.submit({ recipe: { ...imported, export: { ...exported, stage: null, ...over } } });
  await expect(submit({})).rejects.toThrow('export takes a stage or the weights of an imported model; neither is given');
  await expect(submit({ weights: 'absent' })).rejects.toMatchObject({
    details: { remedy: 'Import them: `cairn import model absent.pth --backbone resnet18 --name absent`.' },
  });
  await expect(harness.submit({ recipe: { ...imported, model, export: { ...exported, stage: null, weights: 'theirs' } } }))
    .rejects //
    .toThrow('produces features of length 64; model.embeddingDim is 512');
  const runId = await submit({ weights: 'theirs' });
  await harness.playAll(runId);
  expect(await harness.run(runId)).toMatchObject({ state: 'succeeded' });
  const [registered] = await prisma.model.findMany({ where: { runId } });
  expect(registered?.artifacts).toMatchObject({ checkpoint: json.artifactId });
});

test('an owner can remove their own weights, an admin any', async () => {
  await put('mine', file('mine'));
  await prisma.weights.update({ where: { projectId_name: { projectId: 'default', name: 'mine' } }, data: { owner: 'somebody-else' } });
  expect((await call('submitter', 'DELETE', '/v1/weights/mine')).json).toMatchObject({
    code: 'forbidden',
    detail: expect.stringContaining('somebody-else'),
  });
  await put('own', file('own'));
  expect((await call('submitter', 'DELETE', '/v1/weights/own')).status).toBe(204);
  expect((await call('admin', 'DELETE', '/v1/weights/mine')).status).toBe(204);
});

test('weights are imported up to the quota of their owner, even when many are sent at the same time', async () => {
  await prisma.weights.deleteMany({});
  const { api: bounded } = await openReplica({ bounds: { ...noBounds, weights: { ...noBounds.weights, ownerCount: 3, ownerBytes: 1e9 } } });
  const send = (name: string, octets: Buffer) =>
    bounded.inject({
      method: 'PUT',
      url: `/v1/weights/${name}`,
      query: declared(octets),
      payload: octets,
      headers: { authorization: `Bearer ${secrets.submitter}`, 'content-type': 'application/octet-stream' },
    });
  const answers = await Promise.all(['q1', 'q2', 'q3', 'q4', 'q5'].map((name) => send(name, file(name))));
  expect(answers.map((answer) => answer.statusCode).toSorted()).toEqual([201, 201, 201, 503, 503]);
  expect(answers.find((answer) => answer.statusCode === 503)?.json()).toMatchObject({
    code: 'quota_exceeded',
    details: { setting: 'CAIRN_OWNER_WEIGHTS' },
  });
  // Existing weights do not count again.
  const [there] = await prisma.weights.findMany({ take: 1 });
  expect((await send(there?.name ?? '', file(there?.name ?? ''))).statusCode).toBe(200);
  await call('submitter', 'DELETE', `/v1/weights/${there?.name}`);
  const large = await bounded.inject({
    method: 'PUT',
    url: '/v1/weights/large',
    query: declared(file('large')),
    headers: { authorization: `Bearer ${secrets.submitter}`, 'content-type': 'application/octet-stream', 'content-length': '1000000001' },
  });
  expect(large.json()).toMatchObject({ code: 'quota_exceeded', details: { setting: 'CAIRN_OWNER_WEIGHTS_GB' } });
});
