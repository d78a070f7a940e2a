import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createInternalClient } from '@cairn/client';
import { type FeatureFile, maxListedFiles, partFile, stepSettings, stepVersions } from '@cairn/contract';
import { openDatabase, type PrismaClient } from '@cairn/db';
import { attemptToken, freePort, inParallel, newId, processesByAttempt, sha256, sha256Json, sleep } from '@cairn/runtime';
import { type ObjectStore, openStore, readManifest } from '@cairn/storage';
import { makeRunFolder, removeRunFolder, startS3, trainerPython, usageOf, waitFor } from '@cairn/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startTestService } from '../start-test-service.ts';

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

export type FleetSize = { ids: number; shards: number /** Shards that have a rejected image. */; rejecting: number };

/** The number of shards left to commit: by a worker of ours, over /internal. */
export const leftShards = 4;

const distinctOf = (shard: number, { ids, shards }: FleetSize) =>
  Math.floor(((shard + 1) * ids) / shards) - Math.floor((shard * ids) / shards);

/** The staged files of a shard: a few bytes each. */
export function stagedParts(attemptId: string, shard: number, size: FleetSize) {
  const kinds: FeatureFile[] = shard < size.rejecting ? ['embeddings', 'metadata', 'rejected'] : ['embeddings', 'metadata'];
  return kinds.map((kind) => {
    const name = partFile(kind, shard);
    const content = `${kind} of shard ${shard}`;
    return { content, file: { name, key: `staging/${attemptId}/${name}`, bytes: content.length, sha256: sha256(content) } };
  });
}

export function commitOf(attemptId: string, shard: number, size: FleetSize) {
  const rejected = shard < size.rejecting ? 1 : 0;
  return {
    rows: distinctOf(shard, size) - rejected,
    rejected,
    files: stagedParts(attemptId, shard, size).map(({ file }) => file),
    idsSha256: idsSha256(shard, size),
    seconds: { read: 0, decode: 0, infer: 0, write: 0 },
  };
}

/** Of generated ids, as in `proveShard`. */
function idsSha256(shard: number, size: FleetSize): string {
  const from = Math.floor((shard * size.ids) / size.shards);
  const hash = createHash('sha256');
  for (let id = from; id < from + distinctOf(shard, size); id += 1) hash.update(`${id.toString(16).padStart(16, '0')}\n`);
  return hash.digest('hex');
}

/** Stores the parts of every shard. */
export async function stageParts(store: ObjectStore, attemptId: string, size: FleetSize, put = store.put): Promise<void> {
  await inParallel(Array.from({ length: size.shards }, (_, shard) => shard).values(), 32, async (shard) => {
    for (const { content, file } of stagedParts(attemptId, shard, size)) await put(file.key, content);
  });
}

/**
 * Rows of a run whose only remaining work is the end of one extraction: all but the last few shards are committed by a worker that has ended,
 * and another is working.
 */
export async function insertFleet(prisma: PrismaClient, worked: string, size: FleetSize) {
  const [runId, stepId, live, lists, features, datasetId] = (['run', 'step', 'attempt', 'artifact', 'artifact', 'dataset'] as const).map(
    (kind) => newId(kind),
  ) as [string, string, string, string, string, string];
  const committed = size.shards - leftShards;
  const rows = Array.from({ length: size.shards }, (_, index) => {
    const common = { stepId, index, fromRow: Math.floor((index * size.ids) / size.shards), count: distinctOf(index, size) };
    return index < committed ? { ...common, ...commitOf(worked, index, size), state: 'committed', attemptId: worked } : common;
  });
  const sum = (of: 'rows' | 'rejected') => rows.reduce((total, row) => total + ('rows' in row ? row[of] : 0), 0);
  const own = { projectId: 'default', owner: 'ada' };
  await prisma.$transaction(
    async (tx) => {
      const source = { kind: 'folder', root: '/images', metadata: '/metadata', countries: null };
      await tx.dataset.create({
        data: { id: datasetId, ...own, name: 'made', version: 1, source, digest: sha256('made'), digestBasis: 'test' },
      });
      const asked = { recipeName: 'made', recipe: {}, noReuse: [], requestDigest: sha256(runId) };
      await tx.run.create({ data: { id: runId, ...own, name: 'made', datasetId, state: 'running', ...asked } });
      const listsDetails = { lists: { index: { rows: size.ids + 7, distinct: size.ids, classes: null } } };
      const artifact = { projectId: 'default', runId };
      const ready = { state: 'ready', digest: sha256('lists'), prefix: `lists/${lists}/`, details: listsDetails };
      await tx.artifact.create({ data: { id: lists, ...artifact, kind: 'lists', stepName: 'prepare', ...ready } });
      const building = {
        kind: 'features',
        stepName: 'extract_index',
        state: 'building',
        prefix: `features/${features}/`,
        memoKey: sha256(features),
      };
      const memoParts = { kind: 'extract', version: stepVersions.extract, settings: {}, inputs: {}, source: null };
      await tx.artifact.create({ data: { id: features, ...artifact, ...building, memoParts } });
      const prepare = {
        name: 'prepare',
        kind: 'prepare',
        settings: stepSettings.prepare.parse({}),
        needs: [],
        pool: 'tasks',
        slots: 1,
        maxAttempts: 1,
      };
      await tx.step.create({ data: { id: newId('step'), runId, position: 0, ...prepare, state: 'succeeded', artifactId: lists } });
      await tx.step.create({
        data: {
          id: stepId,
          runId,
          position: 1,
          name: 'extract_index',
          kind: 'extract',
          settings: stepSettings.extract.parse({ list: 'index', shards: size.shards, maxBadImageShare: 0.01 }),
          needs: [{ role: 'lists', step: 'prepare' }],
          pool: 'gpu',
          slots: 1,
          maxAttempts: 8,
          state: 'active',
          startedAt: new Date(),
          artifactId: features,
          shardsTotal: size.shards,
          shardsCommitted: committed,
          rows: sum('rows'),
          rejected: sum('rejected'),
        },
      });
      const attempt = { runId, stepId, stepGeneration: 1, pool: 'tasks', slots: 1 };
      await tx.attempt.create({ data: { id: worked, ...attempt, ordinal: 1, state: 'succeeded', endedAt: new Date() } });
      const heard = { instance: 'made for a test', contact: 'ok', lastContactAt: new Date(Date.now() + 5_000) };
      await tx.attempt.create({ data: { id: live, ...attempt, ordinal: 2, state: 'running', ...heard } });
      for (let from = 0; from < rows.length; from += 2_000) await tx.shard.createMany({ data: rows.slice(from, from + 2_000) });
    },
    { timeout: 60_000 },
  );
  return { runId, stepId, live, features };
}
