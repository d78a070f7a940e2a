import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createClient } from '@cairn/client';
import { openEngineHarness } from '@cairn/engine/testing';
import { freePort } from '@cairn/runtime';
import { bareEnvironment, waitFor } from '@cairn/testing';
import { afterAll, afterEach, expect, test, vi } from 'vitest';

const harness = await openEngineHarness();
afterAll(() => harness.close());

const children: ChildProcess[] = [];
// Each test starts a program, which takes a second, or several on a busy machine.
vi.setConfig({ testTimeout: 90_000 });

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const adminToken = 'cairn_a-token-for-the-test';
const right = {
  CAIRN_DATABASE_URL: harness.databaseUrl,
  CAIRN_STORAGE_URL: 'file:///tmp/cairn-api-test',
  CAIRN_SERVER_KEY: 'k'.repeat(32),
  CAIRN_SECRETS_KEYS: `k1:${'s'.repeat(32)}`,
  CAIRN_ADMIN_TOKEN: adminToken,
  CAIRN_API_PORT: '0',
  CAIRN_INTERNAL_PORT: '0',
};

/** Starts the program with only these variables. */
function start(env: Record<string, string>) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { ...bareEnvironment(), ...env },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  children.push(child);
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const exited = once(child, 'close').then(([code]) => ({ code, errors }));
  return { child, exited, errors: () => errors };
}

test('serves both ports, accepts the bootstrap token, and stops cleanly on request', async () => {
  const [port, internalPort] = [await freePort(), await freePort()];
  const { child, exited, errors } = start({ ...right, CAIRN_API_PORT: String(port), CAIRN_INTERNAL_PORT: String(internalPort) });
  const client = createClient({ url: `http://127.0.0.1:${port}`, token: adminToken, tries: 1 });
  const answered = waitFor(async () => (await client.listTokens()).items.find((token) => token.name === 'bootstrap'), {
    message: 'the api to answer',
    timeoutMs: 60_000,
  });
  const ended = exited.then(({ code }) => Promise.reject(new Error(`the api ended with ${code}: ${errors()}`)));
  await Promise.race([answered, ended]);
  expect((await client.listRecipes()).items.map((recipe) => recipe.name)).toContain('mini');
  expect((await fetch(`http://127.0.0.1:${internalPort}/readyz`)).status).toBe(200);
  const stream = client.events({ topics: ['runs'] });
  await stream.next();
  child.kill('SIGTERM');
  expect(await exited).toMatchObject({ code: 0 });
  await stream.return();
});

test('a port in use is reported in one clear line', async () => {
  const other = createServer().listen(await freePort(), '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as { port: number };
  const { code, errors } = await start({ ...right, CAIRN_API_PORT: String(port), CAIRN_LOG_LEVEL: 'silent' }).exited;
  other.close();
  expect([code, errors.split('\n')[0]]).toEqual([1, `error: Another program listens on 127.0.0.1:${port}.`]);
});

test('every error of the configuration is reported at once, without secrets', async () => {
  const env = {
    CAIRN_DATABASE_URL: 'mysql://root:hunter2@db',
    CAIRN_SERVER_KEY: 'feeble',
    CAIRN_SECRETS_KEYS: 'k1:frail',
    CAIRN_ADMIN_TOKEN: 'weak',
    CAIRN_API_PORT: '80800',
    CAIRN_LOG_LEVEL: 'loud',
  };
  const { code, errors } = await start(env).exited;
  expect(code).toBe(78);
  for (const name of [...Object.keys(env), 'CAIRN_STORAGE_URL']) expect(errors).toContain(name);
  for (const secret of ['hunter2', 'feeble', 'frail', 'weak']) expect(errors).not.toContain(secret);
});
