import { mkdtemp, rm, stat } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AloneEvent,
  type AloneIdentity,
  type AloneJob,
  type AlonePlan,
  type AloneResult,
  aloneJob,
  aloneResult,
  CairnError,
  protocol,
} from '@cairn/contract';
import { planExtraction } from '@cairn/dataset';
import { createLogger, sha256, sha256File, sha256Json } from '@cairn/runtime';
import { commitArtifact, type ObjectStore, openStore, readManifest } from '@cairn/storage';
import { failureOf } from '../agent/failure.ts';
import { createStop, type Stop } from '../agent/stop.ts';
import { openedShards } from '../child/messages.ts';
import { startChild } from '../child/start-child.ts';
import { extractionWork } from '../extract/run-extract.ts';
import { type FleetContext, runShards } from '../fleet/run-shards.ts';
import { findSet, type Ledger, openLedger, partsFolder, planListKey, storePlan, tryWriting } from './open-ledger.ts';

/** Silence after which a child counts as hanging: longer than a source waits for its storage. */
const hangSeconds = 900;
/** How long a stop waits for the parts that are being stored. */
const graceSeconds = 20;

/**
 * `cairn extract`: an extraction of this machine alone, with the children and shards of a worker. The job comes on standard input and
 * {@link AloneEvent}s go to standard output, one a line. Returns the exit code.
 */
export async function runAlone(env: NodeJS.ProcessEnv): Promise<number> {
  const tell = (event: AloneEvent): void => void process.stdout.write(`${JSON.stringify(event)}\n`);
  const stop = createStop();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => stop.ask({ cause: 'cancelled', reason: 'it was asked to stop', graceSeconds }));
  try {
    const text: Buffer[] = [];
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) text.push(chunk);
    const job = aloneJob.parse(JSON.parse(Buffer.concat(text).toString('utf8')));
    tell({ type: 'done', result: await extractAlone(job, { env, stop, tell }) });
    return 0;
  } catch (error) {
    const { code, message } = failureOf(error);
    tell({ type: 'failed', code, message: stop.asked.aborted ? 'Stopped; the same command continues' : message });
    return 1;
  }
}

export type Surroundings = { env: NodeJS.ProcessEnv; stop: Stop; tell: (event: AloneEvent) => void };

/** The extraction itself. Throws the error that ends it. */
export async function extractAlone(job: AloneJob, { env, stop, tell }: Surroundings): Promise<AloneResult> {
  const signal = stop.asked;
  const { prefix } = job.out;
  const store = openStore(job.out.store);
  const facts = await factsOf(job);
  const identity: AloneIdentity = {
    model: await digestOf(job.model, 'The model', signal),
    ...facts,
    list: await digestOf(job.list, 'The list', signal),
    source: job.source.root,
  };
  const found = await findSet(store, prefix, identity, signal);
  if (found.state === 'complete') return resultOf(await readManifest(store, prefix, signal));
  const workDir = await mkdtemp(join(tmpdir(), 'cairn-extract-'));
  try {
    const context = contextOf(job, { env, stop, tell, store });
    const listPath = join(workDir, 'plan.parquet');
    // The model first: planning lists millions of files.
    const open = { job, facts, listPath, workDir };
    if (found.state === 'none') await tryWriting(store, prefix, signal);
    if (found.state === 'none') await tryModel(context, open);
    const plan = found.state === 'none' ? await makePlan(open, { store, identity, signal }) : found.plan;
    if (found.state === 'unfinished') await store.download(planListKey(prefix), listPath, { sha256: plan.listSha256, signal });
    const ledger = await openLedger(store, prefix, plan, signal);
    const resumed = ledger.commits.size;
    tell({ type: 'planned', images: plan.images, shards: ledger.shards, done: resumed });
    const outcome = await runShards(
      extractionWork({ ...context, client: ledger.client }, { open: jobOf(open), places: job.devices, total: plan.images }),
    );
    if (outcome.outcome !== 'succeeded') throw new CairnError('program_failed', 'Stopped; the same command continues');
    return await finishSet(job, { store, plan, ledger, resumed, signal });
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

type Open = { job: AloneJob; facts: Pick<AloneIdentity, 'imageSize' | 'preprocessing'>; listPath: string; workDir: string };

async function factsOf({ model, imageSize, preprocessing }: AloneJob): Promise<Open['facts']> {
  await requireFile(model, 'The model');
  const { readModelFacts } = await import('@cairn/retrieval');
  const told = await readModelFacts(model);
  const facts = { imageSize: imageSize ?? told.imageSize, preprocessing: preprocessing ?? told.preprocessing };
  if (facts.imageSize !== null && facts.preprocessing !== null) return { imageSize: facts.imageSize, preprocessing: facts.preprocessing };
  const missing = [...(facts.imageSize === null ? ['--image-size'] : []), ...(facts.preprocessing === null ? ['--preprocessing'] : [])];
  throw new CairnError('model_mismatch', `The model ${model} has no metadata that says how it takes images: add ${missing.join(' and ')}`);
}

async function digestOf(path: string, what: string, signal: AbortSignal): Promise<string> {
  await requireFile(path, what);
  return sha256File(path, signal);
}

async function requireFile(path: string, what: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile()) return;
  throw new CairnError('missing_file', `${what} ${path} ${found === null ? 'does not exist' : 'is not a file'}`, {
    details: { file: path },
  });
}

function jobOf({ job, facts, listPath, workDir }: Open) {
  return {
    kind: 'openExtraction' as const,
    modelPath: job.model,
    listPath,
    imageRoot: job.source.root,
    datasetRoots: job.places,
    threads: job.threads,
    ...facts,
    batch: job.batch,
    decodeConcurrency: Math.max(1, Math.floor(availableParallelism() / job.devices.length)),
    outDir: join(workDir, 'features'),
  };
}

/** Opens model and source in a child, which says what does not fit before anything is written. */
async function tryModel(context: Omit<FleetContext, 'client'>, open: Open): Promise<void> {
  const child = startChild(context, {});
  try {
    await child.ask({ ...jobOf(open), device: open.job.devices[0] === null ? 'cpu' : 'cuda' }, openedShards);
  } finally {
    await child.kill();
  }
}

type Planning = { store: ObjectStore; identity: AloneIdentity; signal: AbortSignal };

async function makePlan({ job, listPath }: Open, { store, identity, signal }: Planning): Promise<AlonePlan> {
  const { prefix } = job.out;
  const { images } = await planExtraction({ list: job.list, source: job.source, places: job.places, out: listPath, signal });
  const { sha256: listSha256 } = await store.put(planListKey(prefix), { file: listPath }, { signal });
  const { shardRows } = job;
  const plan: AlonePlan = {
    ...{ format: 'cairn-extraction', version: 1, digest: sha256Json(identity), identity, images, shardRows, listSha256 },
    createdAt: new Date().toISOString(),
  };
  await storePlan(store, prefix, plan, signal);
  return plan;
}

/** What the fleet needs of an attempt. Its notes and progress become events. */
function contextOf(job: AloneJob, { env, stop, tell, store }: Surroundings & { store: ObjectStore }): Omit<FleetContext, 'client'> {
  return {
    stop,
    store,
    log: createLogger({ name: 'extract', level: 'error' }),
    env: Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
    spec: { hangSeconds, stagingPrefix: `${partsFolder(job.out.prefix)}/` },
    reporter: {
      log: (_, data) => void process.stderr.write(data),
      metric: () => undefined,
      progress: ({ done, total, rate }) => tell({ type: 'progress', done, total: total ?? 0, rate: rate ?? 0 }),
      report: (item) => {
        if (item.type === 'note') tell({ type: 'note', message: item.message });
      },
      poke: () => undefined,
      flush: async () => undefined,
      end: async () => undefined,
      close: () => undefined,
    },
  };
}

type Finishing = { store: ObjectStore; plan: AlonePlan; ledger: Ledger; resumed: number; signal: AbortSignal };

/** Proves that the shards have every image of the plan once, and turns the parts into a feature set. */
async function finishSet(job: AloneJob, { store, plan, ledger, resumed, signal }: Finishing): Promise<AloneResult> {
  const { prefix } = job.out;
  const commits = Array.from({ length: ledger.shards }, (_, index) => ledger.commits.get(index)).filter((commit) => commit !== undefined);
  const sumOf = (value: (commit: (typeof commits)[number]) => number): number => commits.reduce((sum, commit) => sum + value(commit), 0);
  const [rows, rejected] = [sumOf((commit) => commit.rows), sumOf((commit) => commit.rejected)];
  if (commits.length !== ledger.shards || rows + rejected !== plan.images) {
    const message = `The ${commits.length} of ${ledger.shards} shards have ${rows} features and ${rejected} rejected images of ${plan.images}`;
    throw new CairnError('corrupt_artifact', message, { details: { rows, rejected, images: plan.images } });
  }
  const idsSha256 = sha256(commits.map((commit) => commit.idsSha256 ?? '').join(''));
  const files = commits.flatMap((commit) => commit.files);
  const { identity } = plan;
  const seconds = {
    read: sumOf((commit) => commit.seconds.read),
    decode: sumOf((commit) => commit.seconds.decode),
    infer: sumOf((commit) => commit.seconds.infer),
    write: sumOf((commit) => commit.seconds.write),
  };
  const counts = { images: plan.images, rows, rejected, shards: ledger.shards, idsSha256 };
  const manifest = await commitArtifact(store, {
    prefix,
    files: files.map(({ name, key, bytes, sha256: digest }) => ({ name, from: key, bytes, sha256: digest })),
    manifest: {
      kind: 'features',
      id: `extract_${plan.digest.slice(0, 16)}`,
      protocol,
      createdAt: plan.createdAt,
      details: {
        list: job.list.split('/').at(-1) ?? job.list,
        model: identity.model,
        preprocessing: identity.preprocessing,
        imageSize: identity.imageSize,
        source: identity.source,
        extraction: plan.digest,
        ...counts,
        seconds,
        countProof: { distinctIds: plan.images, rows, rejected, idsSha256 },
      },
    },
    signal,
  });
  return { ...counts, digest: manifest.digest, resumed, seconds };
}

function resultOf({ digest, details }: Awaited<ReturnType<typeof readManifest>>): AloneResult {
  return aloneResult.parse({ ...details, digest, resumed: details.shards });
}
