// CI runs this when apps/cli/testing/cluster, libs/executor/kubernetes, libs/executor/testing, apps/controller, apps/worker/agent change, else one time in three; it takes about 150 s.
import { agentExit } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import { withClient } from '@cairn/testing';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import {
  batch,
  type ClusterWorld,
  core,
  eventually,
  type OpenService,
  openWorld,
  type PoolSettings,
  shellImage,
  smallPods,
} from './cluster-service.ts';

// Attempts here never become agents: their shells end as the test wants, and the run must report why.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

let world: ClusterWorld;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world.close());

/** A service whose attempts run a shell. */
async function open(script: string, change: PoolSettings = {}, options: { slots?: number } = {}) {
  const one = await world.open({ ...smallPods, image: shellImage, command: ['sh', '-c', script], ...change }, options);
  onTestFinished(() => one.close());
  return one;
}
const myJobs = async (name: string) =>
  (await world.jobs()).filter((job) => job.metadata?.annotations?.['cairn.dev/name']?.startsWith(name));

test.each([
  ['refuses its configuration', `echo no such setting; exit ${agentExit.configuration}`, {}, 'invalid_configuration', 'no such setting'],
  ['needs more memory than its pod may use', 'x=a; while true; do x=$x$x; done', {}, 'out_of_memory', 'exceeded the memory limit'],
  ['fails', 'echo a bug; exit 1', {}, 'program_failed', 'a bug'],
])('an attempt that %s fails its step at once, with the cause and the last output', async (_, script, change, code, words) => {
  const one = await open(script, change);
  const id = await one.submit();
  await eventually(async () => (await one.run(id)).state, 120_000).toBe('failed');
  const step = await one.step(id, '384');
  expect(step).toMatchObject({ state: 'failed', attempts: 1, failure: { cause: 'user', code, message: expect.stringContaining(words) } });
  // Nothing of it is left in the cluster.
  await eventually(async () => (await myJobs((await one.run(id)).name)).length).toBe(0);
});

test('a pod that is deleted by hand is not the user’s mistake: the step is retried', async () => {
  const one = await open('sleep 600');
  const id = await one.submit();
  const { name } = await one.run(id);
  const podOf = async (ordinal: number) =>
    (await world.pods()).find((pod) => pod.metadata?.annotations?.['cairn.dev/name'] === `${name}/384/${ordinal}`);
  await eventually(async () => (await podOf(1))?.status?.phase).toBe('Running');
  await core.deleteNamespacedPod({ namespace: world.namespace, name: (await podOf(1))?.metadata?.name ?? '', gracePeriodSeconds: 0 });
  await eventually(async () => (await podOf(2))?.status?.phase).toBe('Running');
  const { items } = await one.client.listAttempts(id, '384');
  expect(items).toMatchObject([
    { ordinal: 1, state: 'lost', failure: { cause: 'infrastructure', code: 'pod_lost' } },
    { ordinal: 2, state: 'launching' },
  ]);
});

test('a controller killed between creating a Job and recording it adopts it: there is one Job, and one attempt', async () => {
  const one = await open('sleep 600');
  await withClient(one.service.postgres.url, async (database) => {
    // A controller that records where an attempt was started waits for a lock that this connection holds.
    await database.query(`
      create function hold() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(4711); return new; end $$;
      create trigger hold before update of handle on attempt for each row when (new.handle is not null) execute function hold()`);
    await database.query('select pg_advisory_lock(4711)');
    const id = await one.submit();
    const { name } = await one.run(id);
    await eventually(async () => (await myJobs(name)).length).toBe(1);
    const [job] = await myJobs(name);
    const controller = one.service.programs.find((program) => program.name === 'controller');
    const killed = controller?.pid() ?? 0;
    const rows = async () => (await database.query("select state, handle from attempt where pool = 'pods'")).rows;
    expect(await rows()).toEqual([{ state: 'launching', handle: null }]);
    process.kill(killed, 'SIGKILL');
    // The database would otherwise finish the statement of its dead client.
    await database.query("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'advisory'");
    await database.query('select pg_advisory_unlock(4711)');
    expect(await rows()).toEqual([{ state: 'launching', handle: null }]);
    await eventually(rows).toEqual([{ state: 'launching', handle: job?.metadata?.name }]);
    expect(controller?.pid()).not.toBe(killed);
    expect((await myJobs(name)).map(({ metadata }) => metadata?.uid)).toEqual([job?.metadata?.uid]);
  });
});

test('a Job of an unknown attempt is ended and removed, and those of others are left alone', async () => {
  const one = await open('sleep 600');
  const { name } = await one.run(await one.submit());
  await eventually(async () => (await myJobs(name)).length).toBe(1);
  const [job] = await myJobs(name);
  const labels = { ...job?.metadata?.labels, 'cairn.dev/attempt': newId('attempt') };
  const containers = [{ name: 'agent', image: shellImage, imagePullPolicy: 'IfNotPresent', command: ['sleep', '600'] }];
  const template = { metadata: { labels }, spec: { restartPolicy: 'Never', containers } };
  const orphan = await batch.createNamespacedJob({
    namespace: world.namespace,
    body: { metadata: { name: 'orphan', labels }, spec: { backoffLimit: 0, template } },
  });
  const uids = async () => (await world.jobs()).map(({ metadata }) => metadata?.uid);
  await eventually(uids).not.toContain(orphan.metadata?.uid);
  expect(await uids()).toContain(job?.metadata?.uid);
  await eventually(async () => (await world.pods()).filter(({ metadata }) => metadata?.labels?.['job-name'] === 'orphan')).toEqual([]);
});

test('an attempt whose Job vanished while no controller was running is lost, and its step is retried', async () => {
  const home = { home: 'home-of-the-vanished' };
  const settings = { ...smallPods, image: shellImage, command: ['sleep', '600'] };
  const before = await world.open(settings, home);
  const id = await before.submit();
  const { name } = await before.run(id);
  const attempts = async (one: OpenService) => (await one.client.listAttempts(id, '384')).items;
  await eventually(() => attempts(before)).toMatchObject([{ place: expect.stringContaining('pod ') }]);
  await before.close();
  const [job] = await myJobs(name);
  const jobName = job?.metadata?.name ?? '';
  await batch.deleteNamespacedJob({
    namespace: world.namespace,
    name: jobName,
    gracePeriodSeconds: 0,
    body: { propagationPolicy: 'Foreground' },
  });
  await eventually(async () => (await myJobs(name)).length).toBe(0);
  const after = await world.open(settings, home);
  onTestFinished(() => after.close());
  await eventually(() => attempts(after)).toMatchObject([
    {
      ordinal: 1,
      state: 'lost',
      failure: { cause: 'infrastructure', message: expect.stringContaining('it no longer exists in pool pods') },
    },
    { ordinal: 2, state: 'launching' },
  ]);
  expect((await myJobs(name)).map(({ metadata }) => metadata?.name)).not.toContain(jobName);
});

test('a step whose pod waits shows why, the same in API and `cairn show`', async () => {
  const one = await open('sleep 600', { image: `registry.invalid/none@sha256:${'0'.repeat(64)}` });
  const id = await one.submit();
  await eventually(async () => (await one.step(id, '384')).waiting).toMatchObject({
    code: 'pending',
    sentence: expect.stringMatching(
      /^(its image cannot be pulled|the image registry refuses requests from the node): .*registry\.invalid.* \(since .* UTC\)$/s,
    ),
  });
  const { waiting } = await one.step(id, '384');
  expect(await one.show(id)).toContain(waiting?.sentence);
  const { items } = await one.client.listAttempts(id, '384');
  expect(items[0]?.finding?.code).toBe('image_not_pulled');
});

test('a step whose Job the cluster refuses says so', async () => {
  const one = await open('sleep 600', { namespace: 'no-such-namespace' });
  const id = await one.submit();
  await eventually(async () => (await one.step(id, '384')).waiting).toMatchObject({
    code: 'pending',
    sentence: expect.stringMatching(/^cannot be started: .*no-such-namespace/s),
  });
});

test('a step for which no node has room creates no Job, and says which node lacks what, until there is room', async () => {
  const release = await world.occupy(5);
  const one = await open('sleep 600', { gpusPerPod: 8 });
  const id = await one.submit();
  const { name } = await one.run(id);
  await eventually(async () => (await one.step(id, '384')).waiting).toMatchObject({
    code: 'capacity',
    sentence: expect.stringMatching(/^no machine of pool pods can hold it now: node \S+: 3 of 8 GPUs free \(since .* UTC\)$/),
  });
  expect(await one.show(id)).toContain((await one.step(id, '384')).waiting?.sentence);
  expect(await myJobs(name)).toEqual([]);
  await release();
  await eventually(async () => (await myJobs(name)).length).toBe(1);
  await one.client.cancelRun(id, {});
  await eventually(async () => (await myJobs(name)).length).toBe(0);
});
