// CI runs this when libs/executor/docker, libs/executor/testing change, else one time in three; it takes about 60 s.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentExit } from '@cairn/contract';
import { createLogger } from '@cairn/runtime';
import Docker from 'dockerode';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { z } from 'zod';
import { poolLabels } from '../attempt-containers.ts';
import { aSpec, endsAtTerm, eventually, limit, observed } from '../testing/attempts.ts';
import { containerName, containerOptions } from './container-spec.ts';
import { dockerExecutor } from './docker-executor.ts';
import { docker, poolOf, type TestPool, testPool } from './testing/engine.ts';

vi.setConfig({ testTimeout: 60_000 });

let pool: TestPool;
beforeEach(() => {
  pool = testPool();
});
afterEach(() => pool.close());

const containers = () => docker.listContainers({ all: true, filters: { label: [`app.kubernetes.io/instance=${pool.owner.instance}`] } });
const volumes = async () =>
  (await docker.listVolumes({ filters: { label: [`app.kubernetes.io/instance=${pool.owner.instance}`] } })).Volumes.map(({ Name }) => Name);

test('an attempt runs in one container that has its environment and its token, which its description does not show', async () => {
  const executor = pool.open({
    script:
      'echo "$CAIRN_ATTEMPT_ID $EXTRA $(id -u) $(cat $CAIRN_ENV_FILE)"; touch $CAIRN_WORK_DIR/x /tmp/x && ! touch /x 2>&1 && sleep 600',
    env: { EXTRA: 'more' },
  });
  const spec = aSpec();
  const changed: string[] = [];
  await eventually(() => executor.isWatching()).toBe(true);
  executor.onChange((id) => changed.push(id));
  const name = containerName(spec);
  expect(await executor.start(spec, limit())).toEqual({ place: `container ${name}`, handle: name });
  await eventually(() => executor.logs(spec.attemptId)).toBe(
    `${spec.attemptId} more 10001 CAIRN_ATTEMPT_TOKEN=cat_secret\ntouch: cannot touch '/x': Read-only file system\n`,
  );
  expect(await observed(executor, spec)).toEqual({
    attemptId: spec.attemptId,
    generation: 1,
    name: 'mini-1/384/1',
    place: `container ${name}`,
    phase: 'running',
    exitCode: null,
    message: 'running',
    finding: null,
  });
  await eventually(() => changed).toContain(spec.attemptId);
  const description = await docker.getContainer(name).inspect();
  expect(JSON.stringify(description)).not.toContain('cat_secret');
  expect(description.HostConfig).toMatchObject({ ReadonlyRootfs: true, CapDrop: ['ALL'], Memory: 66 * 2 ** 20, ShmSize: 2 ** 20 });
});

test('credentials of the envFile reach the agent and not its description', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-docker-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const envFile = join(folder, 'storage.env');
  await writeFile(envFile, 'AWS_SECRET_ACCESS_KEY=key_secret\n');
  const executor = pool.open({ script: 'cat $CAIRN_ENV_FILE; sleep 600', envFile });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toBe('CAIRN_ATTEMPT_TOKEN=cat_secret\nAWS_SECRET_ACCESS_KEY=key_secret\n');
  expect(JSON.stringify(await docker.getContainer(containerName(spec)).inspect())).not.toContain('key_secret');
});

test('starting it many times, from two executors at once, starts one container; a later third one adopts it', async () => {
  const script = 'echo started; sleep 600';
  const [a, b] = [pool.open({ script }), pool.open({ script })];
  const spec = aSpec();
  await Promise.all([a, b, a, b].map((executor) => executor.start(spec, limit())));
  await a.start(spec, limit());
  const later = pool.open();
  await later.start(spec, limit());
  await eventually(() => observed(later, spec)).toMatchObject({ phase: 'running' });
  expect(await containers()).toHaveLength(1);
  expect(await later.logs(spec.attemptId)).toBe('started\n');
});

test('a container whose creator was killed before starting it is started by the next executor', async () => {
  const spec = aSpec();
  await docker.createContainer(containerOptions(spec, pool.owner, poolOf({ script: 'cat $CAIRN_ENV_FILE; sleep 600' }), ''));
  const executor = pool.open();
  expect(await observed(executor, spec)).toMatchObject({ phase: 'pending', finding: { signal: 'container_creating' } });
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('cat_secret');
  expect(await containers()).toHaveLength(1);
});

test('a stop removes a container that was created and not started', async () => {
  const spec = aSpec();
  await docker.createContainer(containerOptions(spec, pool.owner, poolOf(), ''));
  const executor = pool.open();
  await executor.stop(spec.attemptId, { graceSeconds: 5, reason: 'test' });
  expect(await observed(executor, spec)).toBeUndefined();
  expect(await containers()).toEqual([]);
});

test.each([
  ['ok', agentExit.ok, 'ended_without_result'],
  ['failed', agentExit.failed, 'agent_failed'],
  ['configuration', agentExit.configuration, 'agent_configuration'],
  ['superseded', agentExit.superseded, 'agent_superseded'],
  ['preempted', agentExit.preempted, 'agent_preempted'],
  ['a bus error', 135, 'shared_memory_full'],
])('exit code %s (%d) is reported with the log, and is not run again', async (_, code, signal) => {
  const executor = pool.open({ script: `echo last words; echo of it >&2; exit ${code}` });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: code, finding: { signal } });
  await executor.start(spec, limit());
  expect(await observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: code });
  expect((await executor.logs(spec.attemptId)).split('\n').toSorted()).toEqual(['', 'last words', 'of it']);
  expect(await volumes()).toHaveLength(1);
  await executor.forget(spec.attemptId);
  expect(await observed(executor, spec)).toBeUndefined();
  expect(await containers()).toEqual([]);
  expect(await volumes()).toEqual([]);
  expect(await executor.isGone(spec.attemptId, limit())).toBe(true);
});

test('a container that exceeds its memory limit is reported as such', async () => {
  const executor = pool.open({ script: 'x=a; while true; do x=$x$x; done', memory: '16Mi' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 137, finding: { signal: 'out_of_memory' } });
});

test('an agent that ignores the deadline of its pool is reported once its grace period is over too', async () => {
  const executor = pool.open({ deadlineSeconds: 1, graceSeconds: 1, script: 'echo $CAIRN_DEADLINE_SECONDS; sleep 600' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toBe('1\n');
  expect(await observed(executor, spec)).toMatchObject({ phase: 'running', finding: null });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running', finding: { signal: 'deadline_exceeded' } });
});

test('a program that is not in the image ends the attempt, and the log names it', async () => {
  const executor = pool.open({ command: ['/no/such/program'] });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 127, finding: { signal: 'agent_failed' } });
  expect(await executor.logs(spec.attemptId)).toContain('/no/such/program');
});

test('an engine without GPUs for containers says what to install', async () => {
  const executor = pool.open({ gpus: 1 });
  const spec = aSpec();
  await executor.start(spec, limit());
  const snapshot = await observed(executor, spec);
  expect(snapshot).toMatchObject({ phase: 'exited', finding: { signal: 'container_start' } });
  expect(snapshot?.message).toContain('install the NVIDIA Container Toolkit there, or set gpus to none');
});

test('an image that the engine does not have is an error that says what to do, and a later try can succeed', async () => {
  const executor = pool.open({ image: 'registry.invalid/none:1' });
  await expect(executor.start(aSpec(), limit())).rejects.toMatchObject({
    code: 'image_not_pulled',
    message: expect.stringMatching(
      /has no image registry\.invalid\/none:1; pull or build it there: docker pull registry\.invalid\/none:1$/,
    ),
  });
  expect(await containers()).toEqual([]);
});

test('a stop lets the agent end by itself within the grace, although the executor that was asked is gone', async () => {
  const first = pool.open({ script: endsAtTerm(agentExit.preempted) });
  const spec = aSpec();
  await first.start(spec, limit());
  await eventually(() => first.logs(spec.attemptId)).toContain('started');
  await first.stop(spec.attemptId, { graceSeconds: 30, reason: 'test' });
  await first.close();
  const second = pool.open();
  await eventually(() => observed(second, spec)).toMatchObject({ phase: 'exited', exitCode: agentExit.preempted });
});

test('a stop kills an agent that ignores it after the grace and not before; the earlier of two stops counts', async () => {
  const executor = pool.open({ script: "trap '' TERM; echo started; while true; do sleep 0.1; done" });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const asked = Date.now();
  await executor.stop(spec.attemptId, { graceSeconds: 120, reason: 'test' });
  await executor.stop(spec.attemptId, { graceSeconds: 2, reason: 'test' });
  await executor.close();
  const later = pool.open();
  await eventually(() => observed(later, spec)).toMatchObject({ phase: 'exited', exitCode: 137, finding: { signal: 'killed' } });
  expect(Date.now() - asked).toBeGreaterThan(1_800);
  expect(Date.now() - asked).toBeLessThan(30_000);
});

test('a newer generation starts when the older one is gone, and the older one cannot come back', async () => {
  const executor = pool.open();
  const spec = aSpec();
  await executor.start(spec, limit());
  await executor.start({ ...spec, generation: 2 }, limit());
  expect(await observed(executor, spec)).toMatchObject({ phase: 'running', generation: 2 });
  expect(await containers()).toHaveLength(1);
  await expect(executor.start(spec, limit())).rejects.toMatchObject({ code: 'superseded' });
});

test('another owner’s container of the same name is refused', async () => {
  const spec = aSpec();
  const other = await docker.createContainer({ name: containerName(spec), Image: poolOf().image, Cmd: ['true'] });
  onTestFinished(() => other.remove());
  await expect(pool.open().start(spec, limit())).rejects.toMatchObject({
    code: 'invalid_configuration',
    message: expect.stringContaining('does not belong to this attempt'),
  });
});

test('a container removed by hand leaves nothing of its attempt, and its volume is removed at the next check', async () => {
  const spec = aSpec();
  const executor = pool.open();
  await executor.start(spec, limit());
  expect(await executor.isGone(spec.attemptId, limit())).toBe(false);
  await docker.getContainer(containerName(spec)).remove({ force: true });
  expect(await executor.isGone(spec.attemptId, limit())).toBe(true);
  expect(await observed(executor, spec)).toBeUndefined();
  expect(await volumes()).toHaveLength(1);
  vi.setSystemTime(Date.now() + 61_000);
  onTestFinished(() => void vi.useRealTimers());
  await executor.observe(limit());
  expect(await volumes()).toEqual([]);
});

test('each GPU is given to one container at a time, and `capacity` says how many are left', async () => {
  // Without GPUs the containers cannot run, but they are created and hold their devices.
  const settings = poolOf({ gpus: 2, gpuDevices: ['0', '1', '2', '3'] });
  const executor = pool.open({ gpus: 2, gpuDevices: ['0', '1', '2', '3'] });
  const spec = aSpec();
  await docker.createContainer(containerOptions(spec, pool.owner, settings, '0,1'));
  expect(await executor.capacity(limit(), new Set([spec.attemptId]))).toEqual({
    fits: 1,
    leaving: 0,
    sentences: [expect.stringMatching(/^the Docker engine at .*: 2 of 4 GPUs free$/)],
    nodes: [{ name: expect.any(String), gpus: { total: 4, free: 2, unhealthy: 0 }, fits: 1, refusal: null }],
  });
  expect(await executor.capacity(limit(), new Set([spec.attemptId, 'att_other']))).toMatchObject({ fits: 0 });
  const second = aSpec();
  await executor.start(second, limit());
  const { Config, HostConfig } = await docker.getContainer(containerName(second)).inspect();
  expect(Config.Labels['cairn.dev/gpus']).toBe('2,3');
  expect(HostConfig.DeviceRequests).toMatchObject([{ DeviceIDs: ['2', '3'], Capabilities: [['gpu']] }]);
  await expect(executor.start(aSpec(), limit())).rejects.toMatchObject({ code: 'unavailable' });
});

test('an unreachable engine is an error that names it; when it is back, changes in the meantime are reported', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-docker-'));
  const socketPath = join(folder, 'docker.sock');
  // Instead of stopping the engine, which others use: a connection to it that can be cut.
  let way = await openWay(socketPath);
  const log = createLogger({ name: 'executor', level: 'silent' });
  const settings = poolOf({ script: endsAtTerm(0) });
  const executor = dockerExecutor({ ...pool.owner, settings, docker: new Docker({ socketPath }), log });
  onTestFinished(async () => {
    await executor.close();
    await way.cut();
    await rm(folder, { recursive: true });
  });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.isWatching()).toBe(true);
  await way.cut();
  await eventually(() => executor.isWatching()).toBe(false);
  await expect(executor.observe(limit())).rejects.toMatchObject({
    code: 'unavailable',
    message: `The Docker engine at unix://${socketPath} does not answer (ENOENT): start it, or correct DOCKER_HOST`,
  });
  await docker.getContainer(containerName(spec)).kill();
  await docker.getContainer(containerName(spec)).wait();
  const changed: string[] = [];
  executor.onChange((id) => changed.push(id));
  way = await openWay(socketPath);
  await eventually(() => changed).toContain(spec.attemptId);
  expect(executor.isWatching()).toBe(true);
  expect(await observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 137, finding: { signal: 'killed' } });
});

test('containers of another pool of the same engine are ignored', async () => {
  const other = testPool();
  onTestFinished(() => other.close());
  const spec = aSpec();
  await other.open().start(spec, limit());
  const executor = pool.open();
  expect(await executor.observe(limit())).toEqual([]);
  await executor.forget(spec.attemptId);
  expect(await observed(other.open(), spec)).toMatchObject({ phase: 'running' });
  expect(poolLabels(pool.owner)).not.toEqual(poolLabels(other.owner));
});

async function openWay(socketPath: string) {
  const target = z.object({ socketPath: z.string() }).parse(docker.modem).socketPath;
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((near) => {
    const far = connect(target);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy()).on('close', () => [near, far].map((one) => one.destroy()));
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    cut: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
