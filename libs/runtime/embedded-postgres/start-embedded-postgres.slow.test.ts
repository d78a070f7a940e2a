import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { CairnError } from '@cairn/contract';
import { makeRunFolder, removeRunFolder, waitFor } from '@cairn/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '../logger.ts';
import { identityOf } from '../process-record.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './start-embedded-postgres.ts';

// One cluster for all tests, each of which starts a server on it, in a folder that only its owner may enter (like /root).
const base = await makeRunFolder();
const dataDir = join(base, 'closed', 'postgres');
const log = createLogger({ name: 'postgres', level: 'silent' });
let running: EmbeddedPostgres | undefined;

async function start(options: { port?: number; onCrash?: (error: CairnError) => void } = {}) {
  running = await startEmbeddedPostgres({ dataDir, durable: false, log, ...options });
  return running;
}

async function query(url: string, sql: string) {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

beforeAll(() => mkdir(join(base, 'closed'), { mode: 0o700 }));
afterAll(async () => {
  await running?.stop();
  await removeRunFolder(base);
});

test('it keeps its data and its port across a stop, a start and a restart', async () => {
  const first = await start();
  await query(first.url, "create table run(id text); insert into run values ('run_1')");
  await first.stop();
  const second = await start();
  expect(second.port).toBe(first.port);
  const { pid } = second;
  const before = pid();
  await second.restart();
  expect(pid()).not.toBe(before);
  expect(await query(second.url, 'select id from run')).toEqual([{ id: 'run_1' }]);
  await second.stop();
});

test('it requires the password, which is in a file that others cannot read', async () => {
  const { url, stop } = await start();
  const wrong = new URL(url);
  wrong.password = 'guess';
  await expect(query(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  expect((await stat(join(dataDir, 'password'))).mode & 0o077).toBe(0);
  await stop();
});

test('it listens on 127.0.0.1 only', async () => {
  const { url, stop } = await start();
  expect(await query(url, 'show listen_addresses')).toEqual([{ listen_addresses: '127.0.0.1' }]);
  const outside = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const address = outside.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.2';
  const other = new URL(url);
  other.hostname = address;
  await expect(query(other.href, 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await stop();
});

test('a port in use is named, and nothing is left running', async () => {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const address = holder.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  await expect(start({ port })).rejects.toMatchObject({ code: 'port_in_use', message: expect.stringContaining(`127.0.0.1:${port}`) });
  holder.close();
});

test('a folder in use is refused, naming the process that uses it, which continues', async () => {
  const { url, stop } = await start();
  await expect(startEmbeddedPostgres({ dataDir, durable: false, log })).rejects.toMatchObject({
    code: 'wrong_state',
    message: expect.stringContaining(`Process ${process.pid} runs a PostgreSQL server on ${dataDir}`),
  });
  expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
  await stop();
});

test('a crash is reported, with the end of the log', async () => {
  const crash = Promise.withResolvers<CairnError>();
  const { pid, stop } = await start({ onCrash: crash.resolve });
  process.kill(pid(), 'SIGKILL');
  const error = await crash.promise;
  expect(error.code).toBe('program_failed');
  expect(error.message).toContain('it exited with SIGKILL without being asked to');
  await stop();
});

test('a lock file whose pid belongs to another program by now does not prevent a start', async () => {
  const { stop } = await start();
  await stop();
  await writeFile(join(dataDir, 'cluster', 'postmaster.pid'), `${process.pid}\n${join(dataDir, 'cluster')}\n`);
  const again = await start();
  expect(await query(again.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  await again.stop();
});

async function killedOwner(parentDeath: 'stop' | 'stay') {
  const program = new URL('../fixtures/postgres-owner.ts', import.meta.url).pathname;
  const owner = spawn(process.execPath, [program, dataDir, parentDeath], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line]: unknown[] = await once(owner.stdout, 'data');
  const { pid, url }: { pid: number; url: string } = JSON.parse(String(line));
  await query(url, "create table if not exists run(id text); insert into run values ('run_2')");
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  return { pid, url };
}

test('the server of a killed process ends with it', async () => {
  const { pid } = await killedOwner('stop');
  await waitFor(() => identityOf(pid) === null, { message: 'the server to end with its parent' });
});

test('a server that outlived its killed owner is ended by the next start, and no data is lost', async () => {
  const { pid } = await killedOwner('stay');
  expect(identityOf(pid)).not.toBeNull();
  const next = await start();
  expect(identityOf(pid)).toBeNull();
  expect(await query(next.url, "select distinct id from run where id = 'run_2'")).toEqual([{ id: 'run_2' }]);
  await next.stop();
});

test('after a kill of everything it starts again without losing data', async () => {
  const { pid } = await killedOwner('stay');
  process.kill(pid, 'SIGKILL');
  const next = await start();
  expect(await query(next.url, "select distinct id from run where id = 'run_2'")).toEqual([{ id: 'run_2' }]);
  await next.stop();
});

test('an initialisation that was killed halfway is repeated', async () => {
  const folder = join(base, 'unfinished');
  await mkdir(join(folder, 'cluster.new', 'base'), { recursive: true });
  await writeFile(join(folder, 'cluster.new', 'PG_VERSION'), '18\n');
  const server = await startEmbeddedPostgres({ dataDir: folder, durable: false, log });
  expect(await query(server.url, 'select current_database() as name')).toEqual([{ name: 'cairn' }]);
  await server.stop();
  await rm(folder, { recursive: true });
});

test('a server that cannot start says why', async () => {
  const starting = startEmbeddedPostgres({ dataDir, durable: false, log, settings: { no_such_setting: 'x' }, startLimitMs: 20_000 });
  await expect(starting).rejects.toMatchObject({ code: 'program_failed', message: expect.stringContaining('no_such_setting') });
  expect(await readFile(join(dataDir, 'postgres.log'), 'utf8')).toContain('no_such_setting');
});
