import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findConnection, homeOf } from './connection.ts';

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
