import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pictureSearchView } from '@cairn/contract';
import { imagePath, packTars } from '@cairn/dataset';
import { openParquet } from '@cairn/retrieval/scores';
import { newId, sha256File } from '@cairn/runtime';
import { plainPng } from '@cairn/testing';
import { storeSearchableModel } from '@cairn/testing/searchable-model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { sourceImages } from '../images/source-image.ts';
import { openTestApi } from '../testing/test-api.ts';

/** A web server with the images of a dataset; `isDown` answers as one that is overloaded. */
const web = { isDown: false, files: new Map<string, Buffer>() };
const server = createServer((request, response) => {
  const file = web.files.get(request.url ?? '');
  if (web.isDown || file === undefined) return void response.writeHead(web.isDown ? 503 : 404).end();
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const piece = from === undefined ? file : file.subarray(Number(from), Number(to) + 1);
  response.writeHead(from === undefined ? 200 : 206, {
    ...{ 'last-modified': 'Mon, 30 Nov 2026 10:00:00 GMT', 'content-length': piece.length },
    ...(from === undefined ? {} : { 'content-range': `bytes ${from}-${to}/${file.length}` }),
  });
  response.end(request.method === 'HEAD' ? undefined : piece);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
const { port } = z.object({ port: z.number() }).parse(server.address());
const origin = `http://127.0.0.1:${port}`;
const { api, call, harness, prisma, secrets, store } = await openTestApi({ datasetUrls: [`${origin}/open`] });
const folder = await mkdtemp(join(tmpdir(), 'cairn-images-'));
afterAll(() => rm(folder, { recursive: true }));

async function addDataset(name: string, kind: 'folder' | 'tars', root: string): Promise<string> {
  const source = { kind, root, metadata: root, countries: null };
  const id = newId('dataset');
  await prisma.dataset.create({
    data: { id, projectId: 'default', owner: 'ada', name, version: 1, source, digest: 'd'.repeat(64), digestBasis: 'nothing' },
  });
  return id;
}
async function write(path: string, content: Buffer | string): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), content);
}
const get = (path: string, query: Record<string, string> = {}, headers: Record<string, string> = {}) =>
  api.inject({ method: 'GET', url: `/v1/datasets/${path}`, query, headers: { authorization: `Bearer ${secrets.viewer}`, ...headers } });

/** Width and height of a JPEG, from its frame header. */
function sizeOf(jpeg: Buffer): [number, number] {
  expect(jpeg.subarray(0, 2).toString('hex')).toBe('ffd8');
  for (let at = 2; at < jpeg.length; at += 2 + jpeg.readUInt16BE(at + 2))
    if ([0xc0, 0xc2].includes(jpeg[at + 1] ?? 0)) return [jpeg.readUInt16BE(at + 7), jpeg.readUInt16BE(at + 5)];
  throw new Error('the JPEG has no frame header');
}

test('an image of a folder is a small JPEG that a browser keeps, and a hostile one is an error with its reason', async () => {
  await addDataset('places', 'folder', join(folder, 'places'));
  const at = (split: 'index' | 'test', id: string) => `places/${imagePath(split, id)}`;
  await write(at('index', 'large'), plainPng({ width: 800, height: 400 }));
  await write(at('test', 'small'), plainPng({ width: 30, height: 20 }));
  await write(at('index', 'bomb1'), plainPng({ width: 20_000, height: 20_000, hasPixels: false }));
  await write(at('index', 'text1'), '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
  await write(at('index', 'empty'), '');
  await write('secret.jpg', plainPng({ width: 30, height: 20 }));
  await mkdir(dirname(join(folder, at('index', 'link1'))), { recursive: true });
  await symlink('/etc/hostname', join(folder, at('index', 'link1')));

  const first = await get('places@1/images/large', { size: '256' });
  expect(first.statusCode, first.body.slice(0, 500)).toBe(200);
  expect(first.headers).toMatchObject({ 'content-type': 'image/jpeg', 'cache-control': 'private, max-age=31536000, immutable' });
  expect(sizeOf(first.rawPayload)).toEqual([256, 128]);
  const again = await get('places@1/images/large', { size: '256' }, { 'if-none-match': String(first.headers.etag) });
  expect({ status: again.statusCode, bytes: again.rawPayload.length }).toEqual({ status: 304, bytes: 0 });
  // The file is not read again.
  await rm(join(folder, at('index', 'large')));
  expect((await get('places@1/images/large', { size: '256' })).rawPayload).toEqual(first.rawPayload);
  const small = await get('places/images/small', { split: 'test' });
  expect(sizeOf(small.rawPayload)).toEqual([30, 20]);
  expect(small.headers['cache-control']).toBe('private, no-cache');

  const faults: [string, number, RegExp][] = [
    ['bomb1', 422, /pixel/],
    ['text1', 422, /not a JPEG, PNG, WebP, GIF or TIFF file/],
    ['empty', 422, /no bytes/],
    ['link1', 422, /outside the allowed dataset folders/],
    ['absent', 404, /no image absent/],
    ['..%2F..%2Fsecret', 400, /letters/],
  ];
  for (const [id, status, detail] of faults) {
    const answer = (await get(`places@1/images/${id}`)).json();
    expect({ id, status: answer.status }).toEqual({ id, status });
    expect(JSON.stringify(answer)).toMatch(detail);
  }
  expect((await get('places@1/images/small', { split: 'index' })).statusCode).toBe(404);
  expect((await get('places@1/images/small', { size: '77' })).statusCode).toBe(400);
});

test('an image of a tar is found by the lists of a run, until which the answer says what to do', async () => {
  const root = join(folder, 'packed');
  const datasetId = await addDataset('packed', 'tars', root);
  const images = ['one1', 'two2', 'three3'].map((id, at) => ({
    id,
    read: async () => plainPng({ width: 40 + at, height: 10 }),
  }));
  await packTars(root, 'index', images, 1);
  const before = (await get('packed@1/images/two2')).json();
  expect(before).toMatchObject({ status: 404, code: 'not_found' });
  expect(before.details.remedy).toContain('Submit a run with this dataset');

  const parquet = await openParquet();
  const list = join(folder, 'index.parquet');
  const tar = await readFile(join(root, 'index/images_000.tar'));
  const offset = tar.indexOf(Buffer.from('89504e47', 'hex'), tar.indexOf('two2.jpg'));
  const { size: fileBytes } = await stat(join(root, 'index/images_000.tar'));
  const columns = { image_id: 'text', path: 'text', tar: 'text', offset: 'integer', size: 'integer', file_bytes: 'integer' } as const;
  const size = (await images[1]?.read())?.length ?? 0;
  const rows = [['two2', imagePath('index', 'two2'), 'index/images_000.tar', offset, size, fileBytes]];
  await parquet.write({ path: list, columns, rows });
  await parquet.close();
  const id = newId('artifact');
  const bytes = await readFile(list);
  await store.put(`lists/${id}/lists/index.parquet`, bytes);
  const files = [{ name: 'lists/index.parquet', bytes: bytes.length, sha256: await sha256File(list) }];
  await prisma.artifact.create({
    data: { id, projectId: 'default', kind: 'lists', state: 'ready', prefix: `lists/${id}/`, stepName: 'prepare', files },
  });
  const runId = await harness.submit({ name: 'packed' });
  await prisma.run.update({ where: { id: runId }, data: { datasetId } });
  await prisma.step.updateMany({ where: { runId, name: 'prepare' }, data: { artifactId: id, state: 'succeeded' } });

  const answers = await Promise.all(['two2', 'one1', 'two2'].map((image) => get(`packed@1/images/${image}`, { size: '256' })));
  expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 404, 200]);
  expect(sizeOf(answers[0]?.rawPayload ?? Buffer.alloc(0))).toEqual([41, 10]);
  expect((await call(null, 'GET', '/v1/datasets/packed@1/images/two2')).status).toBe(401);
});

const picture = (colour: readonly [number, number, number]) => plainPng({ width: 60, height: 40, colour });

beforeAll(async () => {
  const runId = await harness.submit({ name: 'registered' });
  await harness.playAll(runId);
  await storeSearchableModel({ prisma, store }, runId, [
    { id: 'red0', bytes: picture([230, 20, 20]) },
    { id: 'green1', bytes: picture([20, 230, 20]) },
    { id: 'blue2', bytes: picture([20, 20, 230]) },
    { id: 'grey3', bytes: picture([120, 120, 120]) },
  ]);
});

test('a picture finds itself first among the features of a registered model, and nothing else than a picture is searched', async () => {
  const search = (octets: Buffer, query: Record<string, string> = {}) =>
    call('submitter', 'POST', '/v1/search', { octets, query: { model: 'toy', topK: '3', ...query } });
  const { status, json } = await search(picture([20, 20, 230]));
  expect({ status, json }).toMatchObject({ status: 200 });
  const view = pictureSearchView.parse(json);
  expect(view).toMatchObject({ model: 'toy@1', dataset: 'toy@1', galleryRows: 4 });
  expect(view.items.map(({ rank }) => rank)).toEqual([1, 2, 3]);
  expect(view.items[0]).toMatchObject({ imageId: 'blue2', label: 42, score: expect.closeTo(1, 2) });

  expect((await search(Buffer.from('<svg/>'))).json).toMatchObject({ status: 422, code: 'unreadable_image' });
  expect((await search(Buffer.alloc(0))).json).toMatchObject({ status: 400 });
  expect((await search(picture([0, 0, 0]), { model: 'unknown' })).json).toMatchObject({
    status: 404,
    detail: expect.stringContaining('unknown'),
  });
  expect((await call('viewer', 'POST', '/v1/search', { octets: picture([0, 0, 0]), query: { model: 'toy' } })).status).toBe(403);

  await prisma.artifact.updateMany({ where: { kind: 'features' }, data: { bytes: 200_000_000 } });
  expect((await search(picture([20, 20, 230]))).json).toMatchObject({
    ...{ status: 400, detail: expect.stringContaining('200000000 bytes; the service searches at most 100000000') },
    details: { remedy: expect.stringContaining('CAIRN_CACHE_MB') },
  });
});

test('an image at an address is read by the service and decoded like any other; what is wrong with the address is told in words', async () => {
  await addDataset('remote', 'folder', `${origin}/open/places`);
  await addDataset('closed', 'folder', `${origin}/private`);
  const put = (split: 'train' | 'test', id: string, bytes: Buffer) => web.files.set(`/open/places/${imagePath(split, id)}`, bytes);
  put('test', 'wide1', plainPng({ width: 800, height: 400 }));
  put('train', 'torn1', plainPng({ width: 800, height: 400 }).subarray(0, 60));
  put('train', 'empty', Buffer.alloc(0));
  put('train', 'other', plainPng({ width: 8, height: 4 }));

  const shown = await get('remote@1/images/wide1', { size: '256' });
  expect(shown.statusCode, shown.body.slice(0, 500)).toBe(200);
  expect(sizeOf(shown.rawPayload)).toEqual([256, 128]);
  const faults: [string, number, RegExp][] = [
    ['remote@1/images/absent', 404, /no image absent/],
    ['remote@1/images/torn1', 422, /train\/t\/o\/r\/torn1.jpg cannot be read/],
    ['remote@1/images/empty', 422, /no bytes/],
    ['closed@1/images/wide1', 422, /not an allowed dataset address/],
  ];
  for (const [path, status, detail] of faults) {
    const answer = (await get(path)).json();
    expect({ path, status: answer.status, detail: answer.detail }).toEqual({ path, status, detail: expect.stringMatching(detail) });
  }
  web.isDown = true;
  const impatient = sourceImages({ firstPauseMs: 5, longestPauseMs: 20, patienceMs: 50, idleMs: 2_000, mostTries: 3 });
  const away = impatient(`${origin}/open/places`, [`${origin}/open`], [{ path: imagePath('train', 'other') }]);
  await expect(away).rejects.toMatchObject({ code: 'storage_failed', message: expect.stringContaining('no request has succeeded') });
  // It was read before.
  expect((await get('remote@1/images/wide1', { size: '256' })).statusCode).toBe(200);
  web.isDown = false;
  expect((await get('remote@1/images/other')).statusCode).toBe(200);
});
