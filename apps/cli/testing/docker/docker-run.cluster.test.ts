// CI runs this when apps/cli/testing/docker, libs/executor/docker, docker/worker change, else one time in three; it takes about 120 s.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CairnClient, createClient } from '@cairn/client';
import type { AttemptView } from '@cairn/contract';
import { makeMiniDataset, tinyCounts } from '@cairn/mini-dataset';
import { freePort } from '@cairn/runtime';
import { makeRunFolder, removeRunFolder, startS3, type TestS3 } from '@cairn/testing';
import Docker from 'dockerode';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Service } from '../../service/start-service.ts';
import { startTestService } from '../start-test-service.ts';

// The whole pipeline, with torchrun and ONNX Runtime in containers of the worker image.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 180_000 });

const docker = new Docker();
const instance = `test-${process.pid}`;
/** The containers' name for this machine. */
const machine = 'host.docker.internal';
let folder: string;
let dataset: string;
let s3: TestS3;
let service: Service;
let client: CairnClient;

beforeAll(async () => {
  folder = await makeRunFolder();
  dataset = await mkdtemp('/var/tmp/cairn-test-dataset-');
  await makeMiniDataset({ out: dataset, seed: 0, counts: tinyCounts });
  await chmod(dataset, 0o755);
  // On every address: containers connect from their own network.
  s3 = await startS3({ host: '127.0.0.1' });
  const envFile = join(folder, 'storage.env');
  await writeFile(
    envFile,
    Object.entries(s3.env)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
    { mode: 0o600 },
  );
  const [internalPort, storage] = [await freePort(), s3.url('home')];
  const settings = {
    image: process.env.CAIRN_TEST_WORKER_IMAGE,
    allowTags: true,
    gpus: 'none',
    memory: '2Gi',
    tmpSize: '512Mi',
    envFile,
    env: { CAIRN_INTERNAL_URL: `http://${machine}:${internalPort}`, CAIRN_STORAGE_URL: storage.replace('127.0.0.1', machine) },
    mounts: [{ hostPath: dataset, mountPath: dataset }],
  };
  service = await startTestService({
    home: join(folder, 'home'),
    internalPort,
    slots: 1,
    python: process.env.CAIRN_PYTHON,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, DOCKER_HOST: process.env.DOCKER_HOST, ...s3.env },
    variables: {
      CAIRN_STORAGE_URL: storage,
      CAIRN_INTERNAL_HOST: '0.0.0.0',
      CAIRN_INSTANCE: instance,
      CAIRN_POOLS: JSON.stringify([{ name: 'box', executor: 'docker', slots: 2, settings }]),
    },
    datasetRoots: [dataset],
    signal: AbortSignal.timeout(120_000),
  });
  client = createClient({ url: service.url, token: service.token });
  const [root, metadata, countries] = ['images', 'metadata', 'countries'].map((name) => join(dataset, name)) as [string, string, string];
  await client.addDataset({ name: 'mini', source: { kind: 'folder', root, metadata, countries } });
});
afterAll(async () => {
  await service?.close();
  for (const { Id } of await containers()) await docker.getContainer(Id).remove({ force: true, v: true });
  await s3?.stop();
  await removeRunFolder(folder);
  await rm(dataset, { recursive: true });
});

const containers = () => docker.listContainers({ all: true, filters: { label: [`app.kubernetes.io/instance=${instance}`] } });
const eventually = <T>(read: () => T | Promise<T>, timeout = 60_000) => expect.poll(read, { timeout, interval: 200 });

test('a run passes through containers to its mAP and leaves none; killing a controller and a container costs one attempt', async () => {
  const { id } = await client.submitRun({ recipe: 'tiny', dataset: 'mini', set: { 'stages.384.checkpointEverySteps': 1 } });
  const attemptsOf = async (step: string): Promise<AttemptView[]> => (await client.listAttempts(id, step)).items;
  // While the first stage trains: its checkpoint is there for the next attempt.
  await eventually(async () => (await client.listRunEvents(id, {})).items.map((event) => event.type), 240_000).toContain('checkpoint');
  const [container] = await containers();
  const controller = service.programs.find((program) => program.name === 'controller');
  const killed = controller?.pid() ?? 0;
  process.kill(killed, 'SIGKILL');
  await eventually(() => controller?.pid()).not.toBe(killed);
  // The next controller finds the running container, and creates no other.
  expect((await containers()).map(({ Id }) => Id)).toEqual([container?.Id]);
  await docker.getContainer(container?.Id ?? '').kill();

  await eventually(async () => (await client.getRun(id)).state, 500_000).toMatch(/succeeded|failed|cancelled/);
  const run = await client.getRun(id);
  expect(run.stepViews.map(({ name, state, failure }) => [name, state, failure])).toEqual(
    run.stepViews.map(({ name }) => [name, 'succeeded', null]),
  );
  expect(run.stepViews.find((step) => step.name === 'evaluate')?.scores.mapAt100).toBeGreaterThan(0);
  expect(await attemptsOf('384')).toMatchObject([
    { state: 'lost', pool: 'box', failure: { cause: 'infrastructure', code: 'pod_lost' } },
    { state: 'succeeded', pool: 'box', resumedFrom: expect.anything() },
  ]);
  for (const step of ['384_finetune', '512_finetune', '512_all', 'export']) {
    expect(await attemptsOf(step), step).toMatchObject([{ state: 'succeeded', pool: 'box' }]);
  }
  // A fleet has as many containers as there is room for: one or two.
  for (const step of ['extract_index', 'extract_query']) {
    const fleet = (await attemptsOf(step)).filter(({ pool }) => pool === 'box');
    expect(fleet.length, step).toBeGreaterThan(0);
    expect(fleet.map(({ state }) => state)).toEqual(fleet.map(() => 'succeeded'));
  }
  await eventually(containers).toEqual([]);
});
