import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { packagesAreCurrent } from './npm-packages.mjs';

const zod = { version: '4.6.7', integrity: 'sha512-a' };
const pg = { version: '8.23.1', integrity: 'sha512-b' };
const otherPlatform = { version: '1.0.0', integrity: 'sha512-c', optional: true };

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cairn-npm-'));
  await mkdir(join(root, 'node_modules', 'node', 'bin'), { recursive: true });
  await writeFile(join(root, 'node_modules', 'node', 'bin', 'node'), '');
});
afterEach(() => rm(root, { recursive: true }));

const lock = (packages: object) => writeFile(join(root, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...packages } }));
const record = (packages: object) => writeFile(join(root, 'node_modules', '.package-lock.json'), JSON.stringify({ packages }));
async function installed(packages: object): Promise<void> {
  await Promise.all(Object.keys(packages).map((path) => mkdir(join(root, path), { recursive: true })));
  await record(packages);
}

describe('node_modules counts as current', () => {
  test('not when nothing is installed', async () => {
    await rm(join(root, 'node_modules'), { recursive: true });
    await lock({ 'node_modules/zod': zod });
    expect(await packagesAreCurrent(root)).toBe(false);
  });

  test('after an install by hand that is complete except for packages of other platforms', async () => {
    await lock({ 'node_modules/zod': zod, 'node_modules/mac-only': otherPlatform });
    await installed({ 'node_modules/zod': zod });
    expect(await packagesAreCurrent(root)).toBe(true);
  });

  test('no longer when the lock file has changed since', async () => {
    await lock({ 'node_modules/zod': zod });
    await installed({ 'node_modules/zod': zod });
    expect(await packagesAreCurrent(root)).toBe(true);
    await lock({ 'node_modules/zod': { ...zod, version: '4.7.0' } });
    expect(await packagesAreCurrent(root)).toBe(false);
  });

  test.each([
    ['lacks', { 'node_modules/zod': zod }],
    ['has another version of', { 'node_modules/zod': zod, 'node_modules/pg': { ...pg, version: '8.0.0' } }],
    ['has more than', { 'node_modules/zod': zod, 'node_modules/pg': pg, 'node_modules/left-over': zod }],
  ])('not when it %s the lock file', async (_case, packages) => {
    await lock({ 'node_modules/zod': zod, 'node_modules/pg': pg });
    await installed(packages);
    expect(await packagesAreCurrent(root)).toBe(false);
  });

  test('not when npm has recorded a package that it did not unpack', async () => {
    await lock({ 'node_modules/zod': zod });
    await record({ 'node_modules/zod': zod });
    expect(await packagesAreCurrent(root)).toBe(false);
  });

  test('not without Node 24, whatever the records say', async () => {
    await lock({ 'node_modules/zod': zod });
    await installed({ 'node_modules/zod': zod });
    await rm(join(root, 'node_modules', 'node'), { recursive: true });
    expect(await packagesAreCurrent(root)).toBe(false);
  });
});
