import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@cairn/client';
import { aRun, idFor, type StubApi, startStubApi } from '@cairn/client/testing';
import { runListItem } from '@cairn/contract';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { findConnection, homeOf } from './connection.ts';
import { findRun } from './find-run.ts';

const summary = runListItem.parse(aRun());
const runs = [
  { ...summary, name: 'mini-1', id: 'run_01kaaaaaaaaaaaaaaaaaaaaaaa' },
  { ...summary, name: 'mini-2', id: 'run_01kabbbbbbbbbbbbbbbbbbbbbb' },
  { ...summary, name: 'nightly', id: 'run_01kcccccccccccccccccccccccc'.slice(0, 30) },
];
let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
  api.on('GET', '/v1/runs', ({ query }) => ({
    items: runs.filter(({ name }) => [null, name].includes(query.get('name'))),
    nextCursor: null,
    total: runs.length,
  }));
  api.on('GET', '/v1/runs/(run_[^/]+)', (_, __, match) => aRun({ id: match[1] ?? '' }));
});
afterEach(() => api.close());

const find = (text: string) => findRun(createClient({ url: api.url }), text, new AbortController().signal);

test('a whole id is requested directly, a name by its name', async () => {
  expect((await find(idFor('run', 5))).id).toBe(idFor('run', 5));
  expect((await find('mini-2')).id).toBe(runs[1]?.id);
  expect(api.requests.map(({ path }) => path)).toEqual([`/v1/runs/${idFor('run', 5)}`, '/v1/runs']);
});

test('the beginning of an id is enough when it matches only one run', async () => {
  expect((await find('run_01kc')).name).toBe('nightly');
  expect((await find('01kab')).name).toBe('mini-2');
});

test('an ambiguous beginning lists the matching runs', async () => {
  await expect(find('01ka')).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringContaining('mini-1 (run_01kaaaaaaaaaaaaaaaaaaaaaaa), mini-2'),
  });
});

test('an unknown name gets the nearest one as a suggestion', async () => {
  await expect(find('nightli')).rejects.toMatchObject({ code: 'not_found', details: { nearest: 'nightly' } });
  await expect(find('../tokens')).rejects.toMatchObject({ code: 'invalid_path' });
});

const file = { url: 'http://127.0.0.1:8080', token: 'of-the-file' };
let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'home-'));
  await writeFile(join(home, 'client.json'), JSON.stringify(file));
});
afterAll(() => rm(home, { recursive: true }));

test("the home is --home, else CAIRN_HOME, else in the user's home folder", () => {
  expect(homeOf({ CAIRN_HOME: '/a', HOME: '/u' }, '/b')).toBe('/b');
  expect(homeOf({ CAIRN_HOME: '/a', HOME: '/u' }, undefined)).toBe('/a');
  expect(homeOf({ HOME: '/u' }, undefined)).toBe('/u/.local/share/cairn');
});

test('without variables address and token come from the file that `cairn up` wrote', async () => {
  expect(await findConnection({ CAIRN_HOME: home }, {})).toEqual({ ...file, home });
  expect(await findConnection({}, { home })).toEqual({ ...file, home });
});

test('CAIRN_URL and CAIRN_TOKEN come first, --url before them', async () => {
  const env = { CAIRN_HOME: home, CAIRN_URL: 'http://cairn.example', CAIRN_TOKEN: 'mine' };
  expect(await findConnection(env, {})).toEqual({ url: 'http://cairn.example', token: 'mine', home: null });
  expect(await findConnection(env, { url: 'http://other.example' })).toEqual({ url: 'http://other.example', token: 'mine', home: null });
});

test('--home selects a service and its token, overriding the environment', async () => {
  const env = { CAIRN_URL: 'http://cairn.example', CAIRN_TOKEN: 'mine' };
  expect(await findConnection(env, { home })).toEqual({ ...file, home });
});

test("the file's token is sent only to its own address", async () => {
  expect(await findConnection({ CAIRN_HOME: home, CAIRN_URL: 'http://cairn.example' }, {})).toEqual({
    url: 'http://cairn.example',
    token: undefined,
    home: null,
  });
  expect(await findConnection({ CAIRN_HOME: home, CAIRN_URL: 'http://127.0.0.1:8080/' }, {})).toMatchObject({ token: 'of-the-file' });
});

test('a missing service and a file that is not ours are reported', async () => {
  await expect(findConnection({ CAIRN_HOME: '/nonexistent' }, {})).rejects.toMatchObject({
    code: 'unavailable',
    details: { remedy: expect.stringContaining('cairn up') },
  });
  const other = join(home, 'other');
  await mkdir(other);
  await writeFile(join(other, 'client.json'), '{"url": 3}');
  await expect(findConnection({}, { home: other })).rejects.toMatchObject({ code: 'invalid_configuration' });
});
