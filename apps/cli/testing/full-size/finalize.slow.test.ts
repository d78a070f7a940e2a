import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createInternalClient } from '@cairn/client';
import { maxListedFiles } from '@cairn/contract';
import { openDatabase } from '@cairn/db';
import { attemptToken, freePort, newId, processesByAttempt, sha256Json, sleep } from '@cairn/runtime';
import { openStore, readManifest } from '@cairn/storage';
import { makeRunFolder, removeRunFolder, startS3, trainerPython, usageOf, waitFor } from '@cairn/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startTestService } from '../start-test-service.ts';
import { commitOf, type FleetSize, insertFleet, leftShards, stagedParts, stageParts } from './whole-fleet.ts';

vi.setConfig({ testTimeout: 240_000 });

const maxMiB = 300;
/** Controller and api use about as much when idle; they may grow by this much. */
const maxGrowthMiB = 80;
const maxBusySeconds = 0.05;

/** The peak of a process's resident memory in MiB since it started, or since {@link forgetPeak}; 0 when it has ended. */
const peakOf = async (pid: number): Promise<number> =>
  Number(/VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] ?? 0) / 1024;

/** proc_pid_clear_refs(5) */
const forgetPeak = (pid: number): Promise<void> => writeFile(`/proc/${pid}/clear_refs`, '5');

/** Gauges of the controller, in seconds. */
async function longestOf(port: number): Promise<{ block: number; busy: number }> {
  const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const gauge = (name: string) => Number(new RegExp(`^cairn_controller_longest_${name}_seconds ([\\d.e+-]+)$`, 'm').exec(page)?.[1]);
  return { block: gauge('block'), busy: gauge('busy') };
}

async function openWhole(onS3: boolean) {
  const home = await makeRunFolder();
  onTestFinished(() => removeRunFolder(home));
  const s3 = onS3 ? await startS3() : null;
  onTestFinished(async () => s3?.stop());
  for (const [name, value] of Object.entries(s3?.env ?? {})) vi.stubEnv(name, value);
  const probePort = await freePort();
  const storageUrl = s3 === null ? pathToFileURL(join(home, 'objects')).href : s3.url('full-size');
  const service = await startTestService({
    home,
    slots: 1,
    python: trainerPython(),
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...s3?.env },
    variables: { CAIRN_STORAGE_URL: storageUrl },
    controllerVariables: { CAIRN_PROBE_PORT: String(probePort) },
    signal: new AbortController().signal,
  });
  onTestFinished(() => service.close());
  const { prisma, close } = openDatabase({ url: service.postgres.url, connections: 2 });
  onTestFinished(() => close());
  const pidOf = (name: string) => service.programs.find((program) => program.name === name)?.pid() ?? 0;
  return { service, prisma, probePort, store: openStore(storageUrl), pidOf };
}

test.each<[string, boolean, FleetSize]>([
  ['10,000 shards of 4,900,000 ids, in a folder', false, { ids: 4_900_000, shards: 10_000, rejecting: 300 }],
  ['200 shards on S3', true, { ids: 98_000, shards: 200, rejecting: 20 }],
])('a fleet is finalized by an attempt, and no program is blocked or grows: %s', async (_, onS3, size) => {
  const { service, prisma, probePort, store, pidOf } = await openWhole(onS3);
  const worked = newId('attempt');
  await stageParts(store, worked, size);
  // Its start is over, and out of its window. On S3 fewer parts move, and blocks are not measured.
  if (!onS3)
    await waitFor(async () => (await longestOf(probePort)).busy < maxBusySeconds, {
      timeoutMs: 90_000,
      message: 'the controller at rest',
    });
  const { runId, stepId, live, features } = await insertFleet(prisma, worked, size);
  const worker = createInternalClient({
    urls: [service.internalUrl],
    attemptId: live,
    generation: 1,
    token: attemptToken(service.home.serverKey, live, 1),
    signal: AbortSignal.timeout(60_000),
  });
  const before = { controller: (await usageOf(pidOf('controller'))).residentMiB, api: (await usageOf(pidOf('api'))).residentMiB };
  for (const name of ['controller', 'api']) await forgetPeak(pidOf(name));
  const began = performance.now();
  for (let shard = 0; shard < leftShards; shard += 1) {
    const { shard: claimed } = await worker.claimShard({ holding: [] });
    const index = claimed?.index ?? 0;
    for (const { content, file } of stagedParts(live, index, size)) await store.put(file.key, content);
    await worker.commitShard(index, commitOf(live, index, size));
  }
  await worker.finish({ outcome: 'succeeded', files: [], details: {} });

  const peaks = { controller: 0, api: 0, worker: 0, finalizer: 0 };
  const longest = { block: 0, busy: 0 };
  const poll = async () => {
    for (const name of ['controller', 'api', 'worker'] as const) peaks[name] = Math.max(peaks[name], await peakOf(pidOf(name)));
    for (const attempt of await prisma.attempt.findMany({ where: { stepId, purpose: 'finalize' }, select: { id: true } }))
      for (const { pid } of processesByAttempt().get(attempt.id) ?? []) peaks.finalizer = Math.max(peaks.finalizer, await peakOf(pid));
    const { block, busy } = await longestOf(probePort);
    Object.assign(longest, { block: Math.max(longest.block, block), busy: Math.max(longest.busy, busy) });
    return prisma.run.findUniqueOrThrow({ where: { id: runId }, select: { state: true } });
  };
  const finalized = AbortSignal.timeout(150_000);
  while ((await poll()).state === 'running') await sleep(200, finalized);
  const seconds = (performance.now() - began) / 1000;
  // Staging is removed after that.
  const staged = async () => (await Array.fromAsync(store.list('staging'))).length;
  while ((await staged()) > 0 && performance.now() - began < 200_000) await Promise.all([poll(), sleep(500)]);
  console.log(`${size.shards} shards: ${seconds.toFixed(1)} s; the controller's loop in seconds`, longest, '; MiB', before, peaks);

  expect((await poll()).state).toBe('succeeded');
  const files = 2 * size.shards + size.rejecting;
  const artifact = await prisma.artifact.findUniqueOrThrow({ where: { id: features } });
  expect(artifact).toMatchObject({ state: 'ready', fileCount: files });
  expect(artifact.files).toHaveLength(files > maxListedFiles ? 0 : files);
  expect(artifact.details).toMatchObject({
    shards: size.shards,
    countProof: { distinctIds: size.ids, rows: size.ids - size.rejecting, rejected: size.rejecting },
  });
  const manifest = await readManifest(store, `features/${features}`);
  expect(manifest.files).toHaveLength(files);
  expect(manifest).toMatchObject({ digest: artifact.digest, details: artifact.details });
  expect(sha256Json(manifest.files.map(({ name, sha256 }) => ({ name, sha256 })))).toBe(artifact.digest);
  expect(await staged()).toBe(0);
  for (const [program, peak] of Object.entries(peaks)) expect(peak, program).toBeGreaterThan(20);
  for (const program of ['worker', 'finalizer'] as const) expect(peaks[program], program).toBeLessThan(maxMiB);
  for (const program of ['controller', 'api'] as const) expect(peaks[program] - before[program], program).toBeLessThan(maxGrowthMiB);
  if (!onS3) expect(longest.busy).toBeLessThan(maxBusySeconds);
});
