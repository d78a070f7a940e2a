import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { smallCollection } from '@cairn/testing';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { call, prisma } = await openTestApi();
const folder = await mkdtemp(join(tmpdir(), 'cairn-datasets-'));
afterAll(() => rm(folder, { recursive: true }));

const source = { kind: 'folder', root: folder, metadata: folder, countries: null };
const add = (name: string, change: object = {}) =>
  call('submitter', 'POST', '/v1/datasets', { body: { name, source: { ...source, ...change } } });

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), text);
  // The listing includes times: a file counts as unchanged only with the same time.
  await utimes(join(folder, path), 1_000, 1_000);
}
beforeEach(async () => {
  for (const [path, text] of Object.entries(smallCollection)) await write(path, text);
});

describe('a dataset', () => {
  test('is registered once for the same content, and as a new version when its content changes', async () => {
    const first = await add('glr');
    expect(first.status).toBe(201);
    expect(first.headers.location).toBe('/v1/datasets/glr@1');
    expect(first.json).toMatchObject({ name: 'glr', version: 1, owner: 'a-submitter', source });
    expect(first.json.digestBasis).toBe(
      'the content of 7 CSV and country files, and the names, sizes and times (not the content) of 4 images',
    );

    expect(await add('glr')).toMatchObject({ status: 200, json: { id: first.json.id, version: 1 } });
    await write('beside.txt', 'neither a CSV file nor an image');
    expect(await add('glr')).toMatchObject({ status: 200, json: { version: 1 } });

    await write('train.csv', `${smallCollection['train.csv']}aaa3,http://x/3,7\n`);
    const second = await add('glr');
    expect(second).toMatchObject({ status: 201, json: { version: 2 } });
    await write('index/i/i/i/iii1.jpg', 'another picture');
    expect(await add('glr')).toMatchObject({ status: 201, json: { version: 3 } });
    expect(await prisma.auditEntry.count({ where: { action: 'dataset.add' } })).toBe(3);

    expect((await call('viewer', 'GET', '/v1/datasets/glr')).json).toMatchObject({ version: 3 });
    expect((await call('viewer', 'GET', '/v1/datasets/glr@2')).json).toMatchObject({ id: second.json.id });
    expect((await call('viewer', 'GET', '/v1/datasets/glr%402')).json).toMatchObject({ version: 2 });
    expect((await call('viewer', 'GET', '/v1/datasets/glr@9')).json).toMatchObject({
      status: 404,
      detail: expect.stringContaining('1, 2, 3'),
    });
    const versions = (await call('viewer', 'GET', '/v1/datasets')).json.items.map(
      (item: { name: string; version: number }) => `${item.name}@${item.version}`,
    );
    expect(versions.slice(0, 3)).toEqual(['glr@3', 'glr@2', 'glr@1']);
  });

  test('at an address that is not allowed, or says more than where it is, is refused before anything is requested', async () => {
    const codeOf = async (root: string) => (await add('far', { kind: 'tars', root, metadata: root })).json.code;
    expect(await codeOf('s3://landmarks/gldv2')).toBe('folder_not_allowed');
    expect(await codeOf('https://169.254.169.254/latest')).toBe('folder_not_allowed');
    expect(await codeOf('s3://landmarks/gldv2?endpoint=http://127.0.0.1:9')).toBe('invalid_request');
    expect(await codeOf('s3://key:secret@landmarks/gldv2')).toBe('invalid_request');
    expect(await codeOf('gs://landmarks/gldv2')).toBe('invalid_request');
  });

  test('that several requests register at the same time has one version', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => add('at-once')));
    expect(answers.map((answer) => answer.status).toSorted()).toEqual([200, 200, 200, 201]);
    expect(new Set(answers.map((answer) => answer.json.id)).size).toBe(1);
  });

  test.each<[string, () => Promise<unknown>, object, object]>([
    [
      'a missing CSV file, and the lists that need it',
      () => rm(join(folder, 'index.csv')),
      {},
      { code: 'missing_file', detail: expect.stringMatching(/index\.csv.*the list index needs it/) },
    ],
    [
      'a missing split',
      () => rm(join(folder, 'test'), { recursive: true }),
      {},
      { code: 'missing_file', detail: expect.stringContaining(join(folder, 'test')) },
    ],
    [
      'a missing column, and those expected',
      () => write('train.csv', 'id,landmark\naaa1,7\n'),
      {},
      { code: 'missing_column', detail: expect.stringContaining('landmark_id') },
    ],
    [
      'a bad row by its line',
      () => write('train.csv', 'id,url,landmark_id\naaa1,u,7\n../../etc/passwd,u,7\n'),
      {},
      { code: 'bad_row', detail: expect.stringMatching(/train\.csv.*3/) },
    ],
    ['a missing folder', async () => undefined, { root: join(folder, 'nowhere') }, { code: 'missing_file' }],
    ['a file instead of a folder', async () => undefined, { metadata: join(folder, 'index.csv') }, { code: 'missing_file' }],
    ['missing tars', async () => undefined, { kind: 'tars' }, { code: 'missing_file' }],
  ])('with %s is rejected, and nothing is registered', async (_, spoil, change, problem) => {
    await spoil();
    const before = await prisma.dataset.count();
    expect((await add('broken', change)).json).toMatchObject({ status: 422, ...problem });
    expect(await prisma.dataset.count()).toBe(before);
  });

  test('with a relative path is rejected', async () => {
    expect((await add('relative', { root: '../data' })).json).toMatchObject({
      status: 400,
      code: 'invalid_request',
      details: { errors: [{ path: 'source.root' }] },
    });
  });

  test.each([
    ['a folder that is not allowed', {}, { metadata: '/etc' }],
    ['a file that is a link to the environment of the server', { 'train_clean.csv': '/proc/self/environ' }, {}],
    ['a file that is a link to a system file', { 'train.csv': '/etc/passwd' }, {}],
    ['an image that is a link', { 'index/i/i/i/iii9.jpg': '/etc/passwd' }, {}],
    ['a split that is a link', { 'index/i/j': '/etc' }, {}],
  ])('with %s is rejected, without revealing what is there', async (_, links, change) => {
    for (const [path, target] of Object.entries(links)) {
      await rm(join(folder, path), { force: true, recursive: true });
      await symlink(target, join(folder, path));
    }
    const { status, text } = await add('links', change);
    for (const path of Object.keys(links)) await rm(join(folder, path));
    expect(status).toBe(422);
    expect(JSON.parse(text)).toMatchObject({ code: 'folder_not_allowed' });
    expect(text).not.toMatch(/root:|NODE_|PATH=/);
  });

  test('keeps the digest of every registered file, and adds them where an earlier version had none', async () => {
    const { id } = (await add('files')).json;
    const files = async () => (await prisma.dataset.findUniqueOrThrow({ where: { id } })).files;
    const first = await files();
    expect(first).toMatchObject({
      metadata: { 'train.csv': { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } },
      images: { index: expect.any(String) },
    });
    await prisma.$executeRaw`update dataset set files = null where id = ${id}`;
    expect((await add('files')).status).toBe(200);
    expect(await files()).toEqual(first);
  });
});
