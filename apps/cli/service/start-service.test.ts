import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@cairn/client';
import { identityOf, sha256 } from '@cairn/runtime';
import { bareEnvironment, makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { findConnection } from '../connection.ts';
import { startTestService, type TestServiceOptions } from '../testing/start-test-service.ts';
import { type Service, type ServicePrograms, startService } from './start-service.ts';
import type { ProgramSpec } from './supervised-program.ts';

// Several programs start in each test.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 });

const env = {
  ...bareEnvironment(),
  // Of another service: it must not confuse the programs.
  CAIRN_DATABASE_URL: 'postgres://elsewhere/other',
};
let folder: string;
let home: string;
let service: Service;
const messages: string[] = [];
const start = (over: Partial<TestServiceOptions> = {}): Promise<Service> =>
  startTestService({
    home,
    // Nothing is trained here.
    python: process.execPath,
    env,
    onEvent: (line) => messages.push(line),
    signal: new AbortController().signal,
    ...over,
  });
const client = () => createClient({ url: service.url, token: service.token });

beforeAll(async () => {
  folder = await makeRunFolder();
  // Characters with a meaning in URLs.
  home = join(folder, 'team#1', 'what?x', 'p%41q', '100% mine');
  service = await start();
});
afterAll(async () => {
  await service.close();
  await removeRunFolder(folder);
});

test('the service answers, has a leader and its pool, and is found by clients of its home', async () => {
  // The leader records its pools soon after its election.
  const local = expect.objectContaining({ name: 'local', slots: 2 });
  await expect.poll(async () => (await client().getFleet()).pools, { timeout: 45_000 }).toContainEqual(local);
  expect((await client().getFleet()).leader).not.toBeNull();
  expect(await findConnection({}, { home })).toEqual({ url: service.url, token: service.token, home });
  expect((await client().listRecipes()).items.map(({ name }) => name)).toEqual(expect.arrayContaining(['mini', 'tiny']));
});

test('the controller gets the price of a GPU-hour, and the address for links from the environment', async () => {
  let controller: ProgramSpec | null = null;
  const arrange = ({ controllers: [first] }: ServicePrograms): never => {
    controller = first;
    throw new Error('seen');
  };
  const options = { home: join(folder, 'priced'), port: 0, internalPort: 0, slots: 3, gpuHourPrice: 2.5, python: process.execPath };
  const starting = startService(
    {
      ...options,
      env: { ...env, CAIRN_PUBLIC_URL: 'https://cairn.example.org' },
      onEvent: () => undefined,
      signal: AbortSignal.timeout(60_000),
    },
    { isDurable: false, arrange },
  );
  await expect(starting).rejects.toThrow('seen');
  expect(controller).toMatchObject({ env: { CAIRN_PUBLIC_URL: 'https://cairn.example.org' } });
  const { CAIRN_POOLS = '', CAIRN_DATABASE_URL } = (controller as ProgramSpec | null)?.env ?? {};
  expect(JSON.parse(CAIRN_POOLS)).toEqual([{ name: 'local', executor: 'process', slots: 3, gpuHourPrice: 2.5 }]);
  expect(CAIRN_DATABASE_URL).not.toBe(env.CAIRN_DATABASE_URL);
});

test('objects are stored below the home, whatever characters its path has', async () => {
  const bytes = Buffer.from('tensors');
  const query = { backbone: 'resnet18', sha256: sha256(bytes) } as const;
  const { artifactId } = await client().importWeights('toy', query, new Blob([bytes]));
  const { location } = await client().getArtifact(artifactId);
  expect(location).toContain(join(home, 'storage', 'weights'));
  expect(await readFile(join(location, 'weights.pth'))).toEqual(bytes);
});

test('a second service on the same home is refused and names the first', async () => {
  const second = start();
  await expect(second).rejects.toMatchObject({ code: 'wrong_state', message: expect.stringContaining(`process ${process.pid}`) });
  await expect(second).rejects.toThrow(`at ${service.url}`);
});

test('a killed program and a killed database are restarted, and it is reported', async () => {
  const api = service.programs.find(({ name }) => name === 'api');
  const before = api?.pid() ?? 0;
  process.kill(service.postgres.pid(), 'SIGKILL');
  process.kill(before, 'SIGKILL');
  await expect.poll(() => [before, undefined, null].includes(api?.pid()), { timeout: 45_000 }).toBe(false);
  const list = () =>
    client()
      .listRuns()
      .then(
        ({ items }) => items,
        () => null,
      );
  await expect.poll(list, { timeout: 60_000, interval: 200 }).toEqual([]);
  expect(messages.filter((line) => line.includes('api was killed by SIGKILL; starting it again'))).toHaveLength(1);
  expect(messages.filter((line) => line.includes('PostgreSQL'))).toHaveLength(1);
});

test('closing ends every process and the lock; the next start keeps secrets, ports and data', async () => {
  const { token, url, home: files } = service;
  const { id } = await client().createToken({ name: 'ci', role: 'viewer' });
  const running = [service.postgres.pid(), ...service.programs.map((program) => program.pid() ?? 0)];
  await service.close();
  expect(running.map(identityOf).filter((identity) => identity !== null)).toEqual([]);
  expect([files.lockFile, files.clientFile].filter(existsSync)).toEqual([]);

  // A program that cannot start ends the whole service with the end of its log, and leaves nothing in the way.
  await expect(start({ env: { ...env, CAIRN_LOG_LEVEL: 'shouting' } })).rejects.toMatchObject({
    code: 'program_failed',
    details: { frame: expect.stringContaining('CAIRN_LOG_LEVEL') },
  });

  service = await start();
  expect(service).toMatchObject({ token, url });
  expect((await client().listTokens()).items.map((one) => one.id)).toContain(id);
  expect(await readFile(files.tokenFile, 'utf8')).toBe(`${token}\n`);
});

test('without a Python interpreter it does not start', async () => {
  await expect(start({ python: undefined })).rejects.toMatchObject({ code: 'invalid_configuration' });
  await expect(start({ python: '/nonexistent/python' })).rejects.toThrow('/nonexistent/python');
});
