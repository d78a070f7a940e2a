// CI runs this when libs/executor/kubernetes, libs/executor/testing change, else one time in three; it takes about 90 s.
import { agentExit } from '@cairn/contract';
import { createLogger } from '@cairn/runtime';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { labelSelector, objectName } from '../attempt-containers.ts';
import { aSpec, endsAtTerm, eventually, limit, observed } from '../testing/attempts.ts';
import { clusterApi } from './cluster-api.ts';
import { jobManifest, secretManifest } from './pod-spec.ts';
import { reap, removeAttempts } from './reaper.ts';
import { batch, core, kubeConfig, poolOf, type TestNamespace, testNamespace } from './testing/cluster.ts';

vi.setConfig({ testTimeout: 90_000 });

const owner = { instance: 'test', pool: 'test' };
let space: TestNamespace;
beforeEach(async () => {
  space = await testNamespace();
});
afterEach(() => space.close());

const jobs = async () => (await batch.listNamespacedJob({ namespace: space.name })).items;
const pods = async () => (await core.listNamespacedPod({ namespace: space.name })).items;
const secrets = async () => (await core.listNamespacedSecret({ namespace: space.name })).items;

test('an attempt runs in one pod that has its environment and its token, and its Secret belongs to its Job', async () => {
  const executor = space.open({
    script: 'echo "$CAIRN_ATTEMPT_ID $CAIRN_ATTEMPT_TOKEN $EXTRA $(id -u)"; touch $CAIRN_WORK_DIR/x /tmp/x && sleep 600',
    env: { EXTRA: 'more' },
  });
  const spec = aSpec();
  const changed: string[] = [];
  executor.onChange((id) => changed.push(id));
  expect(await executor.start(spec, limit())).toEqual({ place: `${space.name}/${objectName(spec)}`, handle: objectName(spec) });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running', generation: 1, name: 'mini-1/384/1', finding: null });
  expect((await observed(executor, spec))?.place).toMatch(/^node \S+, pod mini-1-384-1-/);
  await eventually(() => executor.logs(spec.attemptId)).toBe(`${spec.attemptId} cat_secret more 10001\n`);
  expect(changed).toContain(spec.attemptId);
  const [job] = await jobs();
  expect(JSON.stringify(job)).not.toContain('cat_secret');
  expect((await secrets())[0]?.metadata?.ownerReferences).toMatchObject([{ kind: 'Job', uid: job?.metadata?.uid }]);
  expect(executor.isWatching()).toBe(true);
});

test('starting it many times, from two executors at once, starts one pod; a later third one adopts it', async () => {
  const [a, b] = [space.open(), space.open()];
  const spec = aSpec();
  await Promise.all([a, b, a, b].map((executor) => executor.start(spec, limit())));
  await eventually(() => observed(a, spec)).toMatchObject({ phase: 'running' });
  await a.start(spec, limit());
  const later = space.open();
  await eventually(() => observed(later, spec)).toMatchObject({ phase: 'running' });
  await later.start(spec, limit());
  expect(await pods()).toHaveLength(1);
});

test.each([
  ['ok', agentExit.ok, 'ended_without_result'],
  ['failed', agentExit.failed, 'agent_failed'],
  ['configuration', agentExit.configuration, 'agent_configuration'],
  ['superseded', agentExit.superseded, 'agent_superseded'],
  ['preempted', agentExit.preempted, 'agent_preempted'],
])('exit code %s (%d) is reported with the log, and is not run again', async (_, code, signal) => {
  const executor = space.open({ script: `echo last words; exit ${code}` });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: code, finding: { signal } });
  expect(await executor.logs(spec.attemptId)).toContain('last words');
  await executor.start(spec, limit());
  expect(await pods()).toHaveLength(1);
  await executor.forget(spec.attemptId);
  expect(await observed(executor, spec)).toBeUndefined();
  await eventually(async () => [...(await jobs()), ...(await pods()), ...(await secrets())]).toEqual([]);
  expect(await executor.isGone(spec.attemptId, limit())).toBe(true);
});

test('a stop gives the agent its grace, although the executor that was asked is gone', async () => {
  const first = space.open({ script: endsAtTerm(agentExit.preempted) });
  const spec = aSpec();
  await first.start(spec, limit());
  await eventually(() => first.logs(spec.attemptId)).toContain('started');
  const second = space.open();
  await eventually(() => observed(second, spec)).toMatchObject({ phase: 'running' });
  await first.stop(spec.attemptId, { graceSeconds: 15, reason: 'test' });
  await first.stop(spec.attemptId, { graceSeconds: 15, reason: 'test' });
  await first.close();
  await eventually(() => observed(second, spec)).toMatchObject({ phase: 'exited', exitCode: agentExit.preempted });
});

test('a stop kills an agent that ignores it after the grace and not before', async () => {
  const executor = space.open({ script: "trap '' TERM; echo started; while true; do sleep 0.1; done", graceSeconds: 60 });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const asked = Date.now();
  await executor.stop(spec.attemptId, { graceSeconds: 3, reason: 'test' });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 137 });
  expect(Date.now() - asked).toBeGreaterThan(2_500);
  expect(Date.now() - asked).toBeLessThan(15_000);
});

test('a newer generation starts when the older one is gone, and the older one cannot come back', async () => {
  const executor = space.open();
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running', generation: 1 });
  const newer = { ...spec, generation: 2 };
  const asked = Date.now();
  await executor.start(newer, limit());
  // The older one ignores SIGTERM, and its pool would give it 25 s.
  expect(Date.now() - asked).toBeLessThan(15_000);
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running', generation: 2 });
  expect(await pods()).toHaveLength(1);
  await expect(executor.start(spec, limit())).rejects.toMatchObject({ code: 'superseded' });
});

test('another owner’s Job of the same name is refused', async () => {
  const executor = space.open();
  const spec = aSpec();
  const containers = [{ name: 'main', image: 'registry.invalid/other' }];
  await batch.createNamespacedJob({
    namespace: space.name,
    body: { metadata: { name: objectName(spec) }, spec: { suspend: true, template: { spec: { restartPolicy: 'Never', containers } } } },
  });
  await expect(executor.start(spec, limit())).rejects.toMatchObject({
    code: 'invalid_configuration',
    message: expect.stringContaining('does not belong to this attempt'),
  });
});

test('a controller killed between Secret and Job, and one killed after the Job, leave an attempt that the next one starts or adopts', async () => {
  const api = clusterApi(kubeConfig, space.name);
  const settings = poolOf(space.name);
  const [first, second] = [aSpec(), aSpec({ env: { CAIRN_ATTEMPT_TOKEN: 'cat_new' } })];
  await api.applySecret(secretManifest(first, owner, settings), limit());
  await api.applySecret(secretManifest(second, owner, settings), limit());
  await api.createJob(jobManifest(second, owner, settings), limit());
  const executor = space.open();
  await executor.start(first, limit());
  await eventually(() => observed(executor, first)).toMatchObject({ phase: 'running' });
  await eventually(() => observed(executor, second)).toMatchObject({ phase: 'running' });
  expect(await jobs()).toHaveLength(2);
  const uids = new Map((await jobs()).map((job) => [job.metadata?.name, job.metadata?.uid]));
  // What the reaper does after a minute.
  const { items } = await api.listJobs(labelSelector(owner), limit());
  const unowned = (await api.listSecrets(labelSelector(owner), limit())).flatMap((secret) =>
    items.filter((job) => job.metadata.name === secret.metadata.name).map((job) => ({ secret, job })),
  );
  await reap(api, { secrets: [], pods: [], unowned }, 1, createLogger({ name: 'test', level: 'silent' }), limit());
  for (const secret of await secrets()) expect(secret.metadata?.ownerReferences?.[0]?.uid).toBe(uids.get(secret.metadata?.name));
});

test('orphans are removed: a Secret whose Job never came, and a pod whose Job was deleted without it', async () => {
  const api = clusterApi(kubeConfig, space.name);
  const settings = poolOf(space.name);
  const [alone, orphan] = [aSpec(), aSpec()];
  await api.applySecret(secretManifest(alone, owner, settings), limit());
  const executor = space.open();
  await executor.start(orphan, limit());
  await eventually(() => observed(executor, orphan)).toMatchObject({ phase: 'running' });
  await batch.deleteNamespacedJob({ name: objectName(orphan), namespace: space.name, body: { propagationPolicy: 'Orphan' } });
  await eventually(jobs).toEqual([]);
  await eventually(() => observed(executor, orphan)).toMatchObject({ phase: 'running' });
  expect(await executor.isGone(orphan.attemptId, limit())).toBe(false);
  const found = {
    secrets: (await api.listSecrets(labelSelector(owner), limit())).filter((secret) => secret.metadata.name === objectName(alone)),
    unowned: [],
    pods: (await api.listPods(labelSelector(owner), limit())).items,
  };
  expect(found.secrets).toHaveLength(1);
  expect(JSON.stringify(found.secrets)).not.toContain(Buffer.from('cat_secret').toString('base64'));
  await reap(api, found, 1, createLogger({ name: 'test', level: 'silent' }), limit());
  await eventually(() => executor.isGone(orphan.attemptId, limit())).toBe(true);
  expect((await secrets()).map((secret) => secret.metadata?.name)).not.toContain(objectName(alone));
});

test('a pod deleted by hand ends its attempt and is not replaced', async () => {
  const executor = space.open({ script: endsAtTerm(143) });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const name = (await pods())[0]?.metadata?.name ?? '';
  await core.deleteNamespacedPod({ name, namespace: space.name });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 143, finding: { signal: 'killed' } });
  await eventually(pods).toEqual([]);
  // For a later executor the Job shows what happened.
  const later = space.open();
  await eventually(() => observed(later, spec)).toMatchObject({ phase: 'exited', exitCode: 143, finding: { signal: 'killed' } });
});

test('a Job deleted by hand ends its attempt, and the end of its pod is still known', async () => {
  const executor = space.open({ script: endsAtTerm(agentExit.preempted) });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  await batch.deleteNamespacedJob({ name: objectName(spec), namespace: space.name, body: { propagationPolicy: 'Background' } });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: agentExit.preempted });
  await executor.forget(spec.attemptId);
  expect(await observed(executor, spec)).toBeUndefined();
  await eventually(() => executor.isGone(spec.attemptId, limit())).toBe(true);
});

test('a finished Job that Kubernetes removed is reported as ended, and is not started again', async () => {
  const executor = space.open({ script: 'exit 75', keepFinishedSeconds: 1 });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(jobs).toHaveLength(1);
  await eventually(jobs).toEqual([]);
  expect(await observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 75 });
  await executor.start(spec, limit());
  expect(await jobs()).toEqual([]);
});

test('a Job for a queue waits suspended, and can be stopped before it has a pod', async () => {
  const executor = space.open({ kueue: { queueName: 'gpus' } });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'pending', finding: { signal: 'queued' } });
  expect(await executor.capacity(limit(), new Set())).toBeNull();
  await executor.stop(spec.attemptId, { graceSeconds: 5, reason: 'test' });
  await eventually(() => observed(executor, spec)).toBeUndefined();
  expect(await executor.isGone(spec.attemptId, limit())).toBe(true);
});

test('a namespace without Secrets has none to clean up', async () => {
  // For a metadata-only request the API server returns null for an empty list.
  expect(await clusterApi(kubeConfig, space.name).listSecrets(labelSelector(owner), limit())).toEqual([]);
});

test('two installations whose pools share a name and a namespace see, stop and forget only their own attempts', async () => {
  const [mine, theirs] = [space.open(), space.open({}, { instance: 'elsewhere.test' })];
  const spec = aSpec();
  const other = aSpec();
  await mine.start(spec, limit());
  await theirs.start(other, limit());
  await eventually(() => observed(mine, spec)).toMatchObject({ phase: 'running' });
  await eventually(() => observed(theirs, other)).toMatchObject({ phase: 'running' });
  expect((await mine.observe(limit())).map(({ attemptId }) => attemptId)).toEqual([spec.attemptId]);
  expect((await theirs.observe(limit())).map(({ attemptId }) => attemptId)).toEqual([other.attemptId]);
  await theirs.stop(spec.attemptId, { graceSeconds: 1, reason: 'test' });
  await theirs.forget(spec.attemptId);
  expect((await jobs()).map(({ metadata }) => metadata?.deletionTimestamp)).toEqual([undefined, undefined]);
});

test('the remains of a removed installation are deleted; objects of others stay', async () => {
  const script = endsAtTerm(agentExit.preempted);
  const owners = [{}, { pool: 'other' }, { instance: 'other' }];
  const specs = owners.map(() => aSpec());
  const [mine, other, theirs] = specs.map((spec) => objectName(spec));
  for (const [index, spec] of specs.entries()) {
    const executor = space.open({ script }, owners[index]);
    await executor.start(spec, limit());
    await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running' });
    await executor.close();
  }
  // Its controller was killed before it created the Job.
  await clusterApi(kubeConfig, space.name).applySecret(secretManifest(aSpec(), owner, poolOf(space.name)), limit());
  const names = await removeAttempts({ instance: 'test', namespace: space.name, kubeConfig, signal: limit() });
  expect(names.toSorted()).toEqual([mine, other].toSorted());
  expect((await jobs()).map(({ metadata }) => metadata?.name)).toEqual([theirs]);
  expect((await pods()).map(({ status }) => status?.phase)).toEqual(['Running']);
  await eventually(async () => (await secrets()).map(({ metadata }) => metadata?.name)).toEqual([theirs]);
});
