import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createClient } from '@cairn/client';
import { identityOf } from '@cairn/runtime';
import { makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findConnection } from '../connection.ts';
import { type Service, type ServiceOptions, startService } from './start-service.ts';

let home: string;
let service: Service;
const told: string[] = [];
/** Several programs start in each test. */
const limitMs = 90_000;
const start = (over: Partial<ServiceOptions> = {}): Promise<Service> =>
  startService({
    home,
    port: 0,
    internalPort: 0,
    slots: 2,
    // Nothing is trained here.
    python: process.execPath,
    env: { PATH: process.env.PATH, CAIRN_DATABASE_URL: 'postgres://elsewhere/other' },
    isDurable: false,
    tell: (line) => told.push(line),
    signal: new AbortController().signal,
    ...over,
  });
const client = () => createClient({ url: service.url, token: service.token });
const pids = (): number[] => [service.postgres.pid(), ...service.programs.map((program) => program.pid() ?? 0)];

beforeAll(async () => {
  home = await makeRunFolder();
  service = await start();
});
afterAll(async () => {
  await service.close();
  await removeRunFolder(home);
}, limitMs);

test(
  'the service answers, has a leader and its pool, and is found by clients of its home',
  async () => {
    await expect.poll(async () => (await client().getFleet()).leader, { timeout: 15_000 }).not.toBeNull();
    const fleet = await client().getFleet();
    expect(fleet.pools).toContainEqual(expect.objectContaining({ name: 'local', slots: 2 }));
    expect(await findConnection({}, { home })).toEqual({ url: service.url, token: service.token });
    expect((await client().listRecipes()).items.map(({ name }) => name)).toEqual(expect.arrayContaining(['mini', 'tiny']));
  },
  limitMs,
);

test(
  'a second service on the same home is refused and names the first',
  async () => {
    await expect(start()).rejects.toMatchObject({ code: 'wrong_state', message: expect.stringContaining(`process ${process.pid}`) });
    await expect(start()).rejects.toThrow(`at ${service.url}`);
  },
  limitMs,
);

test(
  'a program and the database that are killed are started again, and it is told',
  async () => {
    const api = service.programs.find(({ name }) => name === 'api');
    const before = api?.pid() ?? 0;
    process.kill(before, 'SIGKILL');
    await expect.poll(() => api?.pid() ?? before, { timeout: 15_000 }).not.toBe(before);
    process.kill(service.postgres.pid(), 'SIGKILL');
    await expect.poll(() => told.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(2);
    expect(told[0]).toContain('api was ended by SIGKILL; starting it again');
    expect(told[1]).toContain('PostgreSQL');
    await expect
      .poll(
        () =>
          client()
            .listRuns()
            .then(
              ({ items }) => items,
              () => null,
            ),
        { timeout: 15_000, interval: 200 },
      )
      .toEqual([]);
  },
  limitMs,
);

test(
  'closing ends every process and the lock; the next start keeps secrets, ports and data',
  async () => {
    const { token, url } = service;
    const { id } = await client().createToken({ name: 'ci', role: 'viewer' });
    const running = pids();
    await service.close();
    expect(running.map(identityOf).filter((identity) => identity !== null)).toEqual([]);
    expect([service.home.lockFile, service.home.clientFile].filter(existsSync)).toEqual([]);
    service = await start();
    expect(service).toMatchObject({ token, url });
    expect((await client().listTokens()).items.map((one) => one.id)).toContain(id);
  },
  limitMs,
);

test(
  'a program that cannot start ends the whole with the end of its log, and nothing is left',
  async () => {
    const { home: files } = service;
    await service.close();
    await expect(start({ env: { PATH: process.env.PATH, CAIRN_LOG_LEVEL: 'shouting' } })).rejects.toMatchObject({
      code: 'program_failed',
      details: { frame: expect.stringContaining('CAIRN_LOG_LEVEL') },
    });
    expect(existsSync(files.lockFile)).toBe(false);
    service = await start();
    expect(await readFile(files.tokenFile, 'utf8')).toBe(`${service.token}\n`);
  },
  limitMs,
);

test('without a Python interpreter it does not begin', async () => {
  await expect(start({ python: undefined })).rejects.toMatchObject({ code: 'invalid_configuration' });
  await expect(start({ python: '/nonexistent/python' })).rejects.toThrow('/nonexistent/python');
});
