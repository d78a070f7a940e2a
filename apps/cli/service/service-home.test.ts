import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, identityOf } from '@cairn/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { choosePorts, lockHome, openLog, openServiceHome, requireFree, writePrivate } from './service-home.ts';

let base: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'home-'));
});
afterEach(() => rm(base, { recursive: true }));

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

test('secrets are created once, long and readable only by the owner', async () => {
  const first = await openServiceHome(join(base, 'a', 'home'));
  const again = await openServiceHome(first.path);
  expect(again).toMatchObject({ serverKey: first.serverKey, secretsKeys: first.secretsKeys, adminToken: first.adminToken });
  expect(first.serverKey.length).toBeGreaterThanOrEqual(43);
  expect(first.adminToken).toMatch(/^cairn_[\w-]{43}$/);
  expect(first.secretsKeys).toMatch(/^k1:[\w-]{43}$/);
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

let lockedHome: string;
let lockFile: string;
beforeEach(() => {
  lockedHome = mkdtempSync(join(tmpdir(), 'lock-'));
  lockFile = join(lockedHome, 'up.json');
});
afterEach(() => rmSync(lockedHome, { recursive: true }));

test('a second service on a lockedHome is refused, with the holder and its address', () => {
  const lock = lockHome(lockFile, lockedHome);
  expect(() => lockHome(lockFile, lockedHome)).toThrow(`A service already runs on ${lockedHome}: process ${process.pid}, started just now`);
  lock.noteUrl('http://127.0.0.1:8080');
  expect(() => lockHome(lockFile, lockedHome)).toThrow('at http://127.0.0.1:8080');
  lock.release();
  lockHome(lockFile, lockedHome).release();
  expect(existsSync(lockFile)).toBe(false);
});

test('the lock of a process that is gone is taken over, and leaves nothing behind', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await once(child, 'spawn');
  const identity = identityOf(child.pid ?? 0);
  writeFileSync(lockFile, JSON.stringify({ process: identity, startedAt: new Date().toISOString(), url: null }));
  expect(() => lockHome(lockFile, lockedHome)).toThrow(`process ${child.pid}`);
  child.kill('SIGKILL');
  await once(child, 'exit');
  lockHome(lockFile, lockedHome);
  expect(JSON.parse(readFileSync(lockFile, 'utf8')).process.pid).toBe(process.pid);
  expect(readdirSync(lockedHome)).toEqual(['up.json']);
});

test('a pid that now belongs to another program does not hold the lock', () => {
  const self = identityOf(process.pid);
  writeFileSync(lockFile, JSON.stringify({ process: { ...self, startTicks: 1 }, startedAt: new Date().toISOString(), url: null }));
  expect(() => lockHome(lockFile, lockedHome)).not.toThrow();
});

let home: string;
let file: string;
const holders: Server[] = [];
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'ports-'));
  file = join(home, 'ports.json');
});
afterEach(async () => {
  for (const holder of holders.splice(0)) holder.close();
  await rm(home, { recursive: true });
});

async function hold(port: number): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  holders.push(server);
}

test('requested ports are used if they are free', async () => {
  const [api, internal] = [await freePort(), await freePort()];
  expect(await choosePorts({ api, internal }, file)).toEqual({ api, internal });
});

test('a port in use is named with the option that chooses another', async () => {
  const [api, internal] = [await freePort(), await freePort()];
  await hold(internal);
  await expect(choosePorts({ api, internal }, file)).rejects.toMatchObject({
    code: 'port_in_use',
    message: `Port ${internal} of 127.0.0.1, for the agents, is in use by another program`,
    details: { port: internal, remedy: expect.stringContaining('--internal-port N') },
  });
  await hold(api);
  await expect(choosePorts({ api, internal: 0 }, file)).rejects.toMatchObject({ details: { remedy: expect.stringContaining('--port N') } });
});

test('0 chooses the last ports if they are free, and others if not', async () => {
  const first = await choosePorts({ api: 0, internal: 0 }, file);
  expect(await choosePorts({ api: 0, internal: 0 }, file)).toEqual(first);
  await hold(first.internal);
  const second = await choosePorts({ api: 0, internal: 0 }, file);
  expect(second.api).toBe(first.api);
  expect(second.internal).not.toBe(first.internal);
});

test('ports that another program took in the meantime are named', async () => {
  const ports = await choosePorts({ api: 0, internal: 0 }, file);
  await requireFree(ports);
  await hold(ports.internal);
  await expect(requireFree(ports)).rejects.toMatchObject({ code: 'port_in_use', details: { port: ports.internal } });
});

test('one port for both is refused', async () => {
  const port = await freePort();
  await expect(choosePorts({ api: port, internal: port }, file)).rejects.toMatchObject({ code: 'port_in_use' });
});
