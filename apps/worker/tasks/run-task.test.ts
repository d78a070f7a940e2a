import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AttemptSpec } from '@cairn/contract';
import { openQueues } from '@cairn/queue';
import { attemptToken, createLogger, killAttemptProcesses, processesByAttempt, readAgent } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { bareEnvironment, createDatabase } from '@cairn/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startControlPlane } from '../testing/control-plane.ts';
import { startMain, stubPython } from '../testing/run-main.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { runTask } from './run-task.ts';

vi.setConfig({ testTimeout: 60_000 });

const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 45_000, interval: 20 });
const serverKey = 'a key of the server that is long enough';
const log = createLogger({ name: 'test', level: 'silent' });

const listFiles = { 'lists/clean.parquet': Buffer.from('clean rows') };
const lists = artifactOf('lists', 'lists/art_1/', listFiles, { lists: { clean: { rows: 12, distinct: 12, classes: 5 } } });
const training = () => specOf('train', { inputs: { lists } });
const registration = () => {
  const evaluation = artifactOf('evaluation', 'evaluations/art_2/', {}, {});
  return specOf('register', { inputs: { evaluation } });
};

/** A control plane for one attempt and a worker's configuration; `env` reaches the agent's programs. */
async function openWorld(spec: AttemptSpec, env: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-tasks-'));
  const { id: attemptId, generation } = spec.attempt;
  const plane = await startControlPlane({ spec, token: attemptToken(serverKey, attemptId, generation) });
  const storageUrl = pathToFileURL(join(folder, 'objects')).href;
  await openStore(storageUrl).put('lists/art_1/lists/clean.parquet', 'clean rows');
  const stop = new AbortController();
  onTestFinished(async () => {
    stop.abort();
    await killAttemptProcesses([attemptId], { limitMs: 5000 });
    await plane.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const configuration = {
    CAIRN_INTERNAL_URL: [plane.url],
    CAIRN_STORAGE_URL: storageUrl,
    CAIRN_PYTHON: stubPython(env),
    CAIRN_LOG_LEVEL: 'info',
    CAIRN_SERVER_KEY: serverKey,
  };
  const context = { configuration, env: bareEnvironment(), root: folder, log, signal: stop.signal };
  const workDir = join(folder, `${attemptId}-${generation}`);
  return { plane, context, entry: { attemptId, generation }, workDir, stop, folder };
}

test('an attempt runs in its own process and leaves no folder', async () => {
  const { plane, context, entry, workDir } = await openWorld(registration());
  await runTask(entry, context);
  expect(plane.state.finishes).toMatchObject([{ outcome: 'succeeded' }]);
  expect(existsSync(workDir)).toBe(false);
});

test('an entry that comes twice is run once, and both wait for its end', async () => {
  const { plane, context, entry } = await openWorld(training(), { STUB_STEPS: '30', STUB_STEP_MS: '20' });
  await Promise.all([runTask(entry, context), runTask(entry, context)]);
  expect(plane.state.starts).toHaveLength(1);
  expect(plane.state.finishes).toMatchObject([{ outcome: 'succeeded' }]);
});

test('an entry of an attempt that is over completes without effect', async () => {
  const { plane, context, entry } = await openWorld(registration());
  await runTask(entry, context);
  plane.state.superseded = true;
  await runTask(entry, context);
  expect(plane.state.finishes).toHaveLength(1);
});

test('an agent that is killed is reported as failed, after its programs are gone', async () => {
  const { plane, context, entry, workDir } = await openWorld(training(), { STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const running = runTask(entry, context);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  process.kill(readAgent(workDir)?.process.pid ?? 0, 'SIGKILL');
  await running;
  expect(plane.state.finishes).toMatchObject([
    { outcome: 'failed', cause: 'infrastructure', code: 'program_failed', message: expect.stringMatching(/without reporting why/) },
  ]);
  expect(processesByAttempt().get(entry.attemptId)).toBeUndefined();
});

test('a worker that shuts down asks its agents to stop and waits for them', async () => {
  const { plane, context, entry, stop } = await openWorld(training(), { STUB_STEPS: '10000', STUB_STEP_MS: '20' });
  const running = runTask(entry, context);
  await eventually(() => plane.items('metrics').length).toBeGreaterThan(0);
  stop.abort();
  await running;
  expect(plane.state.finishes).toMatchObject([{ outcome: 'preempted' }]);
});

test('the worker takes attempts from the queue, keeps its secrets, and ends cleanly', async () => {
  await using database = await createDatabase();
  const { plane, context, entry, folder } = await openWorld(training(), { STUB_BEHAVIOUR: 'environment' });
  const { configuration } = context;
  const worker = startMain('tasks', {
    DATABASE_PASSWORD: 'of-another-part-of-the-control-plane',
    CAIRN_QUEUE_URL: database.url,
    CAIRN_SERVER_KEY: serverKey,
    CAIRN_INTERNAL_URL: plane.url,
    CAIRN_STORAGE_URL: configuration.CAIRN_STORAGE_URL,
    CAIRN_PYTHON: configuration.CAIRN_PYTHON,
    CAIRN_STATE_DIR: folder,
  });
  const queues = openQueues({ url: database.url, log });
  onTestFinished(() => queues.close());
  await queues.waitUntilReady();
  await queues.add('tasks', entry);
  await eventually(() => plane.state.finishes).toMatchObject([{ outcome: 'succeeded' }]);
  const environment = plane.logText('stdout');
  expect(environment).toContain('CAIRN_STORAGE_URL');
  for (const secret of [serverKey, database.url, plane.token, 'of-another-part-of-the-control-plane'])
    expect(environment).not.toContain(secret);
  worker.process.kill('SIGTERM');
  expect(await worker.code).toBe(0);
});
