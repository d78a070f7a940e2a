import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openLog, openServiceHome, writePrivate } from './service-home.ts';

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'home-'));
});
afterEach(() => rm(base, { recursive: true }));

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

test('secrets are created once, long and readable only by the owner', async () => {
  const first = await openServiceHome(join(base, 'a', 'home'));
  const again = await openServiceHome(first.path);
  expect(again).toMatchObject({ serverKey: first.serverKey, adminToken: first.adminToken });
  expect(first.serverKey.length).toBeGreaterThanOrEqual(43);
  expect(first.adminToken).toMatch(/^cairn_[\w-]{43}$/);
  const other = await openServiceHome(join(base, 'b'));
  expect(other.serverKey).not.toBe(first.serverKey);
  expect(await Promise.all([first.path, first.tokenFile, join(first.path, 'server.key')].map(modeOf))).toEqual([0o700, 0o600, 0o600]);
});

test('a truncated secret is not used', async () => {
  const home = await openServiceHome(base);
  await writeFile(home.tokenFile, 'short\n');
  await expect(openServiceHome(base)).rejects.toMatchObject({
    code: 'invalid_configuration',
    message: expect.stringContaining('admin.token has no valid secret'),
  });
});

test('a home that cannot be a folder is reported, and so is a file in place of one of its folders', async () => {
  await writeFile(join(base, 'storage'), '');
  for (const path of [base, join(base, 'storage')]) {
    await expect(openServiceHome(path)).rejects.toMatchObject({
      code: 'invalid_configuration',
      message: expect.stringContaining(join(base, 'storage')),
    });
  }
});

test('a home with a line break in its path is refused before anything is made there', async () => {
  await expect(openServiceHome(join(base, 'new\nline'))).rejects.toMatchObject({
    code: 'invalid_configuration',
    message: expect.stringContaining('its path has a line break'),
  });
  expect(await readdir(base)).toEqual([]);
});

test('a private file is readable only by its owner from the first byte on', async () => {
  const path = join(base, 'client.json');
  await writeFile(path, 'old', { mode: 0o644 });
  await writePrivate(path, 'new');
  expect(await readFile(path, 'utf8')).toBe('new');
  expect(await modeOf(path)).toBe(0o600);
});

test('a log that has grown too large is rotated', async () => {
  const path = join(base, 'api.log');
  await writeFile(path, Buffer.alloc(20_000_001, 'x'));
  const log = await openLog(path);
  await log.appendFile('new\n');
  await log.close();
  expect((await stat(`${path}.1`)).size).toBe(20_000_001);
  expect(await readFile(path, 'utf8')).toBe('new\n');
});
