// CI runs this when apps/cli/testing/cluster, libs/executor/kubernetes, docker/worker change, else one time in three; it takes about 360 s.
import { PassThrough } from 'node:stream';
import type { RunView } from '@cairn/contract';
import { Exec, type V1Pod, type V1Status } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  type ClusterWorld,
  clientAsAgent,
  core,
  eventually,
  gpuResource,
  kubeConfig,
  type OpenService,
  openWorld,
  type PoolSettings,
  shellImage,
  smallPods,
} from './cluster-service.ts';

// The whole pipeline, with torchrun and ONNX Runtime in pods of 8 GPUs that the node only pretends to have.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });

const settings: PoolSettings = {
  image: process.env.CAIRN_TEST_WORKER_IMAGE,
  allowTags: true,
  gpusPerPod: 8,
  gpuResource,
  cpu: '100m',
  memory: '2Gi',
  graceSeconds: 30,
  ...JSON.parse(process.env.CAIRN_TEST_WORKER_POOL ?? '{}'),
};

const longStage = { 'stages.384.epochs': 40 };
/** Saves a checkpoint when it is asked to stop, and at its end. */
const seldomSaved = { 'stages.384.checkpointEveryEpochs': 1000, 'stages.384.checkpointEveryMinutes': 0, 'stages.384.logEverySteps': 1 };
const home = 'home';
let world: ClusterWorld;
let one: OpenService;
let pool: PoolSettings;
beforeAll(async () => {
  // No pod mounts the images: each reads them from the bucket.
  world = await openWorld({ images: 'bucket' });
  // Without CUDA: extraction runs on the CPU.
  const env = { CAIRN_GPUS: '0', ...(settings.env as object | undefined) };
  pool = { ...settings, env };
  one = await world.open(pool, { home });
});
afterAll(() => world.close());

const podOf = async (name: string) => (await world.pods()).find((pod) => pod.metadata?.annotations?.['cairn.dev/name'] === name);
const ended = async (id: string): Promise<RunView> => {
  await eventually(async () => (await one.run(id)).state, 500_000).toMatch(/succeeded|failed|cancelled/);
  return one.run(id);
};

test('a run passes through pods of 8 GPUs to its mAP and leaves nothing in the cluster; a drain in a stage loses nothing of its training', async () => {
  const id = await one.submit({ set: { ...longStage, ...seldomSaved } });
  const { name } = await one.run(id);
  const lossPoints = async () => (await one.client.getMetrics(id, '384', { names: 'loss' })).series[0]?.steps.length ?? 0;
  await eventually(lossPoints, 240_000).toBeGreaterThan(3);
  expect((await one.client.listRunEvents(id, {})).items.map(({ type }) => type)).not.toContain('checkpoint');
  const pod = await podOf(`${name}/384/1`);
  expect(pod?.spec?.containers[0]?.resources?.limits?.[gpuResource]).toBe('8');
  const podName = pod?.metadata?.name ?? '';
  await core.createNamespacedPodEviction({ namespace: world.namespace, name: podName, body: { metadata: { name: podName } } });

  const run = await ended(id);
  expect(run.stepViews.map((step) => [step.name, step.state])).toEqual(run.stepViews.map((step) => [step.name, 'succeeded']));
  expect(run.stepViews.find((step) => step.name === 'evaluate')?.scores.mapAt100).toBeGreaterThan(0);

  const attempts = (await one.client.listAttempts(id, '384')).items;
  expect(attempts).toMatchObject([
    { state: 'preempted', pool: 'pods', failure: { cause: 'preemption' } },
    { state: 'succeeded', pool: 'pods', resumedFrom: { step: expect.any(Number) } },
  ]);
  const [drained, next] = attempts;
  expect(drained?.reachedStep).toBeGreaterThan(3);
  expect(next?.resumedFrom?.step).toBeGreaterThanOrEqual(drained?.reachedStep ?? Number.NaN);
  const inPods = { state: 'succeeded', pool: 'pods' };
  for (const step of ['384_finetune', '512_finetune', '512_all', 'export'])
    expect((await one.client.listAttempts(id, step)).items, step).toMatchObject([inPods]);
  // The second attempt makes the artifact of the committed shards.
  for (const step of ['extract_index', 'extract_query'])
    expect((await one.client.listAttempts(id, step)).items, step).toMatchObject([inPods, { state: 'succeeded', pool: 'tasks' }]);
  await eventually(world.jobs).toEqual([]);
  await eventually(async () =>
    (await core.listNamespacedSecret({ namespace: world.namespace })).items.map((secret) => secret.metadata?.name),
  ).toEqual(['storage']);
});

test('a stage in which a rank hangs is ended with the stacks of the other in its log, and resumes from its checkpoint', async () => {
  await one.close();
  one = await world.open(pool, { home: 'home-of-the-hung', variables: { CAIRN_HANG_SECONDS: '30' } });
  const id = await one.submit({ set: { ...longStage, 'stages.384.checkpointEverySteps': 4 } });
  const { name } = await one.run(id);
  await eventually(async () => (await one.client.listRunEvents(id, {})).items.map(({ type }) => type), 240_000).toContain('checkpoint');
  await stopRank(await podOf(`${name}/384/1`));

  const attempts = async () => (await one.client.listAttempts(id, '384')).items;
  await eventually(async () => (await attempts())[1]?.resumedFrom ?? null, 240_000).toEqual({
    step: expect.any(Number),
    epoch: expect.any(Number),
  });
  const [hung] = await attempts();
  expect(hung).toMatchObject({ state: 'failed', failure: { cause: 'infrastructure', code: 'hang' } });
  const { text } = await one.client.readLog(hung?.id ?? '', { stream: 'stderr' });
  expect(text).toMatch(/most recent call first/);
  expect(text).toMatch(/File ".*cairn_trainer\/.*\.py", line \d+ in /);
  await one.client.cancelRun(id);
  await eventually(world.jobs).toEqual([]);
});

test('a stage whose loaders have no room in the shared memory of their pod fails at once, and says what to raise', async () => {
  await one.close();
  one = await world.open({ ...pool, sharedMemory: '512Ki' }, { home: 'home-of-the-full' });
  // A batch of more than a megabyte.
  const id = await one.submit({ set: { 'stages.384.loaderWorkers': 1, 'stages.384.imageSize': 256 } });
  await eventually(async () => (await one.run(id)).state, 240_000).toBe('failed');
  expect(await one.step(id, '384')).toMatchObject({
    state: 'failed',
    attempts: 1,
    failure: {
      cause: 'user',
      code: 'shared_memory_full',
      message: expect.stringMatching(/No space left on device.*raise sharedMemory of the pool/),
    },
  });
});

test('a stage that exceeds the time limit of its pool fails with a checkpoint, and a retry resumes from it', async () => {
  await one.close();
  const kept = { home: 'home-of-the-long' };
  one = await world.open({ ...pool, deadlineSeconds: 40 }, kept);
  const id = await one.submit({ set: { ...seldomSaved, 'stages.384.epochs': 200 } });
  await eventually(async () => (await one.run(id)).state, 240_000).toBe('failed');
  const attempts = async () => (await one.client.listAttempts(id, '384')).items;
  const [first, ...others] = await attempts();
  expect(first).toMatchObject({ state: 'failed', failure: { cause: 'deadline', code: 'deadline_exceeded' } });
  expect(others).toEqual([]);
  expect(first?.reachedStep).toBeGreaterThan(0);
  await one.close();
  one = await world.open(pool, kept);
  await one.client.retryRun(id, {});
  await eventually(async () => (await attempts())[1]?.resumedFrom?.step ?? -1, 120_000).toBe(first?.reachedStep);
  await one.client.cancelRun(id);
  await eventually(world.jobs).toEqual([]);
});

test('a pod of a fleet that is preempted by a training step releases its shard, and another pod completes the extraction', async () => {
  await one.close();
  // Room for one pod of each extraction.
  one = await world.open({ ...pool, gpusPerPod: 4 }, { home });
  // One shard each, which takes half a minute: the preempted one is not done.
  const slow = { 'export.imageSize': 768, 'extract.index.batch': 2, 'extract.query.batch': 2 };
  const whole = { 'extract.index.shards': 1, 'extract.query.shards': 1 };
  const extraction = await one.submit({ set: { ...longStage, ...slow, ...whole } });
  const ofBoth = async <T>(list: (step: string) => Promise<{ items: T[] }>) =>
    (await Promise.all(['extract_index', 'extract_query'].map(list))).flatMap(({ items }) => items);
  const fleets = async () => (await ofBoth((step) => one.client.listAttempts(extraction, step))).filter(({ pool: at }) => at === 'pods');
  const shards = () => ofBoth((step) => one.client.listShards(extraction, step));
  const holders = async () => (await shards()).flatMap(({ state, attemptId }) => (state === 'leased' ? [attemptId] : []));
  await eventually(async () => (await holders()).length, 240_000).toBe(2);

  const training = await one.submit({ set: { 'stages.384.seed': 78, 'stages.384.epochs': 200 } });
  await eventually(async () => (await one.step(training, '384')).state).toBe('active');
  const yielded = (await fleets()).filter(({ state }) => state !== 'running');
  // The agent's own message: it was not killed at the end of its grace period.
  expect(yielded).toMatchObject([
    { state: 'preempted', failure: { cause: 'preemption', message: expect.stringContaining('stopped after 0 shards') } },
  ]);
  expect(await holders()).not.toContain(yielded[0]?.id);

  await one.client.cancelRun(training);
  await eventually(async () => (await one.run(extraction)).state, 240_000).toBe('succeeded');
  const items = await shards();
  expect(items.map(({ rows, rejected }) => (rows ?? 0) + (rejected ?? 0))).toEqual(items.map(({ count }) => count));
  expect(items.map(({ attemptId }) => attemptId)).not.toContain(yielded[0]?.id);
  expect(items.map(({ tries }) => tries).toSorted()).toEqual([1, 2]);
  expect((await fleets()).map(({ state }) => state).toSorted()).toEqual(['preempted', 'succeeded', 'succeeded']);
  await eventually(world.jobs).toEqual([]);
});

test('a training step that waits for GPUs preempts a fleet, the pod with fewer shards first', async () => {
  await one.close();
  // Two pods of 4 GPUs in which nothing runs: this test acts as their agents.
  const shells = { ...smallPods, image: shellImage, command: ['sleep', '600'], gpusPerPod: 4, gpuResource };
  one = await world.open(shells, { home });
  const extraction = await one.submit({ set: longStage, noReuse: ['extract_index'] });
  const fleet = async () => (await one.client.listAttempts(extraction, 'extract_index')).items;
  // Their agents cannot exist before their Jobs do.
  await eventually(async () => (await fleet()).map((attempt) => attempt.place)).toEqual([expect.any(String), expect.any(String)]);
  const [, younger] = await Promise.all((await fleet()).map(({ id }) => clientAsAgent(one, id)));
  await younger?.claimShard({ holding: [] });

  const training = await one.submit({ set: { 'stages.384.seed': 77 } });
  await eventually(async () => (await one.step(training, '384')).state).toBe('active');
  const failures = (await fleet()).map((attempt) => attempt.failure?.message ?? attempt.state).join('; ');
  expect(await fleet(), failures).toMatchObject([{ state: 'preempted', failure: { cause: 'preemption' } }, { state: 'running' }]);
  const left = async () => (await world.pods()).map((pod) => pod.metadata?.annotations?.['cairn.dev/name'] ?? '').toSorted();
  const [a, b] = [(await one.run(extraction)).name, (await one.run(training)).name];
  await eventually(left).toEqual([`${a}/extract_index/2`, `${b}/384/1`].toSorted());
});

/** Stops the younger rank of a pod's trainer, like a process that waits for a dead GPU or file server. */
async function stopRank(pod: V1Pod | undefined): Promise<void> {
  const script = `
import os, pathlib, signal
def words(pid): return pathlib.Path(f'/proc/{pid}/cmdline').read_text()
def parent(pid): return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1]
trainers = {pid for pid in os.listdir('/proc') if pid.isdigit() and 'cairn_trainer' in words(pid)}
ranks = sorted((int(pid) for pid in trainers if parent(pid) in trainers))
os.kill(ranks[-1], signal.SIGSTOP)`;
  const output = new PassThrough().resume();
  const { promise, resolve } = Promise.withResolvers<V1Status>();
  const [name = '', container = ''] = [pod?.metadata?.name, pod?.spec?.containers[0]?.name];
  await new Exec(kubeConfig).exec(world.namespace, name, container, ['python3', '-I', '-c', script], output, output, null, false, resolve);
  expect(await promise).toMatchObject({ status: 'Success' });
}
