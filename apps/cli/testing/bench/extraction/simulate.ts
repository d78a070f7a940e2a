import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { createInternalClient } from '@cairn/client';
import { openDatabase, type PrismaClient } from '@cairn/db';
import { attemptToken, newId, processesByAttempt, sha256File, sleep } from '@cairn/runtime';
import { openStore, readManifest } from '@cairn/storage';
import { familySeconds, trainerPython, usageOf, waitFor } from '@cairn/testing';
import { show } from '@cairn/testing/bench/quantiles';
import { z } from 'zod';
import { type Service, startService } from '../../../service/start-service.ts';
import { insertRun, listDetails, type SimulatedRun, startWorkers } from './fleet-rows.ts';
import { type PlayJob, played } from './play-job.ts';
import { rawCommits } from './raw-commits.ts';

export type SimulationSize = { ids: number; tars: number; shards: number; workers: number; perMinute: number; dim: number };

const limits = { planSeconds: 5, planMiB: 1024, readMs: 50, controllerMiB: 512, finalizeSeconds: 300 } as const;

/** Prints a figure beside its limit. */
function tell(what: string, measured: string, limit = ''): void {
  console.log(`${what}: ${measured}${limit === '' ? '' : `  (limit: ${limit})`}`);
}

const planned = z.object({
  images: z.number(),
  seconds: z.number(),
  cpuSeconds: z.number(),
  peakMiB: z.number(),
  runs: z.number(),
  path: z.string(),
});

/**
 * An extraction of `ids` images in tars by workers that compute nothing, on a real control plane with a durable database: planned, claimed,
 * committed while the api is read, finalized. Prints each figure beside its limit.
 */
export async function simulate(size: SimulationSize): Promise<void> {
  // On a disk: the database is durable, and the features of 4.9 million images are 5 GB.
  const home = await mkdtemp(join(tmpdir(), 'cairn-bench-'));
  let service: Service | null = null;
  try {
    const plan = await planCollection(home, size);
    service = await startControlPlane(home);
    const { prisma, close } = openDatabase({ url: service.postgres.url, connections: 4 });
    try {
      await runFleet({ service, prisma, home, size, listPath: plan.path });
    } finally {
      await close();
    }
  } finally {
    await service?.close();
    await rm(home, { recursive: true, force: true });
  }
}

async function planCollection(home: string, { ids, tars }: SimulationSize) {
  const program = join(import.meta.dirname, '../../../../../libs/dataset/testing/bench/plan.ts');
  const flags = ['--folder', home, '--rows', String(ids), '--tars', String(tars)];
  await promisify(execFile)(process.execPath, [program, 'make', ...flags]);
  const { stdout } = await promisify(execFile)(process.execPath, [program, 'plan', ...flags]);
  const plan = planned.parse(JSON.parse(stdout));
  if (plan.images !== ids) throw new Error(`the plan has ${plan.images} of the ${ids} images`);
  tell(
    `plan of ${ids} images in ${tars} tars: time`,
    `${plan.seconds.toFixed(1)} s (${plan.cpuSeconds.toFixed(1)} s of processor time)`,
    `${limits.planSeconds} s`,
  );
  tell('its memory, peak', `${plan.peakMiB.toFixed(0)} MiB`, `${limits.planMiB} MiB`);
  tell('runs of images of one tar in it', String(plan.runs), String(tars));
  return plan;
}

/** As `cairn up` starts it, but for limits per caller: the service's own are measured. */
async function startControlPlane(home: string): Promise<Service> {
  const unlimited = { CAIRN_TOKEN_RATE: '0', CAIRN_ADDRESS_RATE: '0' };
  const options = { home, port: 0, internalPort: 0, slots: 1, python: trainerPython(), env: process.env };
  return startService(
    { ...options, onEvent: (line) => console.log(line), signal: AbortSignal.timeout(60_000) },
    {
      isDurable: true,
      arrange: (programs) => ({ ...programs, api: { ...programs.api, env: { ...programs.api.env, ...unlimited } } }),
    },
  );
}

type Simulation = { service: Service; prisma: PrismaClient; home: string; size: SimulationSize; listPath: string };

async function runFleet(simulation: Simulation): Promise<void> {
  const { service, prisma, home, size } = simulation;
  const run = await insertRun(prisma, size);
  await endPrepare(simulation, run);
  const attempts = Array.from({ length: size.workers }, () => newId('attempt'));
  const workers = await startPlaying(home, {
    ...{ internalUrl: service.internalUrl, serverKey: service.home.serverKey, storageUrl: pathToFileURL(service.home.storageDir).href },
    ...{ folder: join(home, 'parts'), ids: size.ids, shards: size.shards, dim: size.dim, attempts, perMinute: size.perMinute },
    paced: Math.floor((size.shards * 5) / 6),
    reportSeconds,
  });
  await startWorkers(prisma, run, attempts);
  const over = new AbortController();
  const peaks = watchMemory(simulation, run, over.signal);
  // What fails first is told; the database may be closed by then.
  peaks.catch(() => undefined);
  const before = await cpuSeconds(service);
  const reading = new AbortController();
  const reads = readWhile(service, run, reading.signal);
  reads.catch(() => undefined);
  const { paced, free, reports } = played.parse(JSON.parse(await workers.play()));
  const after = await cpuSeconds(service);
  reading.abort();
  const took = await reads;
  const done = paced.shards + free.shards;
  const rate = (some: { shards: number; seconds: number }) => `${Math.round((some.shards * 60) / some.seconds)} a minute`;
  tell(`${paced.shards} commits at the asked rate`, rate(paced), `${size.perMinute} a minute`);
  tell('leases that were lost', String(paced.lost + free.lost), '0');
  tell('a commit, p50 / p99', `${show(paced.commits, 0.5)} / ${show(paced.commits, 0.99)}`);
  tell('a claim, p50 / p99', `${show(paced.claims, 0.5)} / ${show(paced.claims, 0.99)}`);
  tell('a report, p50 / p99', `${show(reports, 0.5)} / ${show(reports, 0.99)}`);
  for (const [path, { times, refused }] of Object.entries(took))
    tell(
      `GET ${path} meanwhile, p50 / p99`,
      `${show(times, 0.5)} / ${show(times, 0.99)} of ${times.length}, ${refused} refused`,
      `p99 ${limits.readMs} ms`,
    );
  tell(`${free.shards} commits without a limit`, rate(free));
  for (const [name, seconds] of Object.entries(after))
    tell(`processor time of a shard: ${name}`, `${(((seconds - (before[name] ?? 0)) * 1000) / done).toFixed(2)} ms`);
  await finalize(simulation, run, attempts);
  over.abort();
  const { controller, api, finalizer } = await peaks;
  tell('memory of the controller, peak', `${controller.toFixed(0)} MiB`, `${limits.controllerMiB} MiB`);
  tell('memory of the api and of the finalizer, peak', `${api.toFixed(0)} and ${finalizer.toFixed(0)} MiB`);
  const raw = await rawCommits(prisma, run, attempts, Math.min(3000, size.shards));
  tell('the same writes in one statement, without the api', `${Math.round(raw)} a minute`);
}

const reportSeconds = 2;

const internalClient = ({ internalUrl, home }: Service, attempt: string) =>
  createInternalClient({
    urls: [internalUrl],
    attemptId: attempt,
    generation: 1,
    token: attemptToken(home.serverKey, attempt, 1),
    signal: AbortSignal.timeout(600_000),
  });

/** `prepare` succeeds with the planned list; then the engine cuts the shards. */
async function endPrepare({ service, prisma, size, listPath }: Simulation, run: SimulatedRun): Promise<void> {
  const name = 'lists/index.parquet';
  const key = `staging/${run.prepare}/${name}`;
  const file = { name, key, bytes: (await stat(listPath)).size, sha256: await sha256File(listPath) };
  await openStore(pathToFileURL(service.home.storageDir).href).put(key, { file: listPath });
  const began = performance.now();
  await internalClient(service, run.prepare).finish({ outcome: 'succeeded', files: [file], details: listDetails(size.ids) });
  await waitFor(async () => (await prisma.shard.count({ where: { stepId: run.stepId } })) === size.shards, {
    timeoutMs: 60_000,
    intervalMs: 10,
    message: 'the shards are planned',
  });
  const seconds = (performance.now() - began) / 1000;
  tell(`from the end of prepare to ${size.shards} shards`, `${seconds.toFixed(2)} s`, `${limits.planSeconds} s`);
}

/** The program of the workers, once it has made all parts. */
async function startPlaying(home: string, settings: PlayJob): Promise<{ play(): Promise<string> }> {
  const path = join(home, 'job.json');
  await writeFile(path, JSON.stringify(settings));
  const child = spawn(process.execPath, [join(import.meta.dirname, 'play-workers.ts'), path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`play-workers.ts ended with ${child.exitCode ?? child.signalCode}`);
    return String(value);
  };
  if ((await next()) !== 'ready') throw new Error('play-workers.ts did not say that it is ready');
  return {
    async play() {
      const ended = once(child, 'exit');
      child.stdin.write('go\n');
      const result = await next();
      await ended;
      return result;
    },
  };
}

/** A page of the dashboard asks for something ten times a second. */
const readEveryMs = 100;

/** Milliseconds of the answers, and how many requests were refused for overload, by path. */
type Reads = Record<string, { times: number[]; refused: number }>;

async function readWhile({ url, token }: Service, { runId }: SimulatedRun, signal: AbortSignal): Promise<Reads> {
  const step = `/v1/runs/${runId}/steps/extract_index`;
  const paths: Record<string, string> = {
    '/v1/runs': '/v1/runs',
    '/v1/runs/ID': `/v1/runs/${runId}`,
    '.../steps/NAME': step,
    '.../shards/grid': `${step}/shards/grid`,
    '/v1/fleet': '/v1/fleet',
  };
  const took: Reads = Object.fromEntries(Object.keys(paths).map((name) => [name, { times: [], refused: 0 }]));
  const pending: Promise<void>[] = [];
  const read = async (name: string, path: string): Promise<void> => {
    const at = performance.now();
    const answer = await fetch(new URL(path, url), { headers: { authorization: `Bearer ${token}` } }).catch(() => null);
    await answer?.arrayBuffer();
    const one = took[name];
    if (answer?.ok) one?.times.push(performance.now() - at);
    else if (one !== undefined) one.refused += 1;
  };
  while (!signal.aborted) {
    for (const [name, path] of Object.entries(paths)) {
      if (!signal.aborted) pending.push(read(name, path));
      await sleep(readEveryMs, signal).catch(() => undefined);
    }
  }
  await Promise.all(pending);
  return took;
}

/** Processor seconds of each program so far. */
async function cpuSeconds(service: Service): Promise<Record<string, number>> {
  const of = (name: string) => usageOf(pidOf(service, name));
  return {
    api: (await of('api')).cpuSeconds,
    controller: (await of('controller')).cpuSeconds,
    PostgreSQL: await familySeconds(service.postgres.pid()),
  };
}

const pidOf = ({ programs }: Service, name: string): number => programs.find((program) => program.name === name)?.pid() ?? 0;

/** The peak of a process's resident memory in MiB; 0 when it has ended. */
const peakOf = async (pid: number): Promise<number> =>
  Number(/VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] ?? 0) / 1024;

async function watchMemory({ service, prisma }: Simulation, { stepId }: SimulatedRun, signal: AbortSignal) {
  const peaks = { controller: 0, api: 0, finalizer: 0 };
  while (!signal.aborted) {
    for (const name of ['controller', 'api'] as const) peaks[name] = Math.max(peaks[name], await peakOf(pidOf(service, name)));
    for (const { id } of await prisma.attempt.findMany({ where: { stepId, purpose: 'finalize' }, select: { id: true } }))
      for (const { pid } of processesByAttempt().get(id) ?? []) peaks.finalizer = Math.max(peaks.finalizer, await peakOf(pid));
    await sleep(500, signal).catch(() => undefined);
  }
  return peaks;
}

/** All workers end; the features are proven and put in place by an attempt of the service. */
async function finalize({ service, prisma, size }: Simulation, run: SimulatedRun, attempts: readonly string[]): Promise<void> {
  const began = performance.now();
  for (const attempt of attempts) await internalClient(service, attempt).finish({ outcome: 'succeeded', files: [], details: {} });
  const state = async () => (await prisma.run.findUniqueOrThrow({ where: { id: run.runId }, select: { state: true } })).state;
  await waitFor(async () => (await state()) !== 'running', { timeoutMs: 900_000, intervalMs: 100, message: 'the features are in place' });
  const seconds = (performance.now() - began) / 1000;
  if ((await state()) !== 'succeeded') throw new Error(`the run ended as ${await state()}; the logs are in ${service.home.path}/logs`);
  const step = await prisma.step.findUniqueOrThrow({ where: { id: run.stepId }, select: { artifactId: true } });
  const store = openStore(pathToFileURL(service.home.storageDir).href);
  const { files, details } = await readManifest(store, `features/${step.artifactId}`);
  const proof = z.object({ rows: z.number(), countProof: z.object({ distinctIds: z.number() }) }).parse(details);
  if (files.length !== 2 * size.shards || proof.rows !== size.ids || proof.countProof.distinctIds !== size.ids)
    throw new Error(`the set has ${files.length} files of ${proof.rows} rows`);
  tell(`finalized: ${files.length} files of ${proof.rows} rows of ${size.dim}`, `${seconds.toFixed(1)} s`, `${limits.finalizeSeconds} s`);
}
