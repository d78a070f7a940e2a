import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AloneEvent,
  type AloneIdentity,
  type AloneJob,
  type AlonePlan,
  type AloneResult,
  type AloneSet,
  aloneImagesFile,
  aloneJob,
  aloneSetDetails,
  CairnError,
  isCairnError,
  manifestName,
  protocol,
  type ShardCommit,
} from '@cairn/contract';
import { canonicalJson, createLogger, makeOwnFolder, sha256, sha256File, sha256Json } from '@cairn/runtime';
import { type ArtifactCommit, commitArtifact, faultyParts, type ObjectStore, openStore } from '@cairn/storage';
import { failureOf } from '../agent/failure.ts';
import { createStop, type Stop } from '../agent/stop.ts';
import { openedShards } from '../child/messages.ts';
import { startChild } from '../child/start-child.ts';
import { decodeThreadsOf, type Extraction, extractionWork, type OpenJob } from '../extract/run-extract.ts';
import { type FleetContext, runShards } from '../fleet/run-shards.ts';
import { claimsOf, findSet, type Ledger, openLedger, partsFolder, planListKey, removeParts, tryWriting } from './open-ledger.ts';
import { planSets, takeWhole, type WantedSet } from './plan-sets.ts';

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

export type Surroundings = {
  env: NodeJS.ProcessEnv;
  stop: Stop;
  tell: (event: AloneEvent) => void;
} & Pick<FleetContext, 'stragglerMs'> &
  Pick<Extraction, 'keepEveryMs'>;

/** The extraction itself: the sets of one model, or of several that share the reading. Throws the error that ends it. */
export async function extractAlone(job: AloneJob, surroundings: Surroundings): Promise<AloneResult> {
  const signal = surroundings.stop.asked;
  const store = openStore(job.out.store);
  const sets = await openSets(job, store, signal);
  const pending = sets.filter((set) => !isDone(set, job));
  const made = pending.length === 0 ? new Map<string, AloneSet>() : await extractSets(pending, job, { ...surroundings, store });
  const [first, ...also] = sets.map((set) => ({ prefix: set.prefix, ...(made.get(set.prefix) ?? completeOf(set)) }));
  if (first === undefined) throw new CairnError('internal', 'An extraction has no set');
  const { prefix: _, ...result } = first;
  return { ...result, also };
}

async function openSets(job: AloneJob, store: ObjectStore, signal: AbortSignal): Promise<WantedSet[]> {
  const wanted = [{ model: job.model, prefix: job.out.prefix }, ...job.also];
  const repeated = wanted.find(({ prefix }, at) => wanted.findIndex((other) => other.prefix === prefix) !== at);
  if (repeated !== undefined)
    throw new CairnError('invalid_request', `Two models have their features in ${repeated.prefix}: the file names of --also must differ`);
  const sets: Omit<WantedSet, 'found'>[] = [];
  const list = await digestOf(job.list, 'The list', signal);
  for (const { model, prefix } of wanted) {
    const facts = await factsOf({ ...job, model });
    sets.push({ model, prefix, identity: { model: await digestOf(model, 'The model', signal), ...facts, list, source: job.source.root } });
  }
  const [first] = sets as [(typeof sets)[number]];
  const other = sets.find(({ identity }) => howOf(identity) !== howOf(first.identity));
  if (other !== undefined) {
    const told = ({ model, identity }: typeof other): string => `${model} (sha256 ${identity.model}) takes ${howOf(identity)}`;
    throw new CairnError('model_mismatch', `The models cannot share one reading: ${told(first)}, ${told(other)}. Extract them one by one`);
  }
  return Promise.all(sets.map(async (set) => ({ ...set, found: await findSet(store, set.prefix, set.identity, signal) })));
}

const howOf = ({ imageSize, preprocessing }: AloneIdentity): string =>
  `images of side ${imageSize} with the preprocessing ${preprocessing}`;

const isDone = ({ found }: WantedSet, { retryRejected }: AloneJob): boolean =>
  found.state === 'complete' && !(retryRejected && completeOf({ found }).rejected > 0);

function completeOf({ found }: Pick<WantedSet, 'found'>): AloneSet {
  if (found.state !== 'complete') throw new CairnError('internal', 'The set is not complete');
  const { digest, details } = found.manifest;
  const told = aloneSetDetails.parse(details);
  return { ...told, digest, resumed: told.shards };
}

/** Extracts the sets that are not complete. Returns each by its prefix. */
async function extractSets(
  sets: readonly WantedSet[],
  job: AloneJob,
  { store, ...surroundings }: Surroundings & { store: ObjectStore },
): Promise<Map<string, AloneSet>> {
  const signal = surroundings.stop.asked;
  const workDir = await makeOwnFolder('cairn-extract-');
  try {
    const context = contextOf({ ...surroundings, store });
    const listPath = join(workDir, 'plan.parquet');
    const open = jobOf(job, sets, listPath);
    const [{ found }] = sets as [WantedSet];
    // The model first: planning lists millions of files.
    if (found.state !== 'unfinished') await tryWriting(store, job.out.prefix, signal);
    if (found.state !== 'unfinished') await tryModel(context, { job, open, workDir });
    const plans = await planSets(sets, job, { context, store, listPath, workDir });
    const ledgers = await Promise.all(plans.map(({ prefix, plan }) => openLedger(store, prefix, plan, signal)));
    for (const [at, { prefix, earlier, isFresh }] of plans.entries())
      if (isFresh && earlier?.prefix === prefix) await takeWhole(ledgers[at] as Ledger, earlier);
    const [ledger] = ledgers as [Ledger];
    const keepAt = `${partsFolder(plans[0]?.prefix ?? '')}/`;
    const { client, setsOf } = claimsOf(ledgers, keepAt);
    const resumed = Array.from({ length: ledger.shards }, (_, index) => index).filter((index) => setsOf(index).length === 0).length;
    surroundings.tell({ type: 'planned', images: ledger.images, shards: ledger.shards, done: resumed });
    const work = extractionWork(
      { ...context, client },
      {
        ...{ open, places: job.devices, total: ledger.images, folder: workDir },
        ...{ keepAt, keepEveryMs: surroundings.keepEveryMs ?? keepEveryMs },
        earlier: plans.map(({ earlier }) => earlier?.set ?? null),
        setsOf: ({ index }) => setsOf(index),
        prefixes: ({ index }) => setsOf(index).map((set) => `${partsFolder(plans[set]?.prefix ?? '')}/`),
      },
    );
    const outcome = await runShards(work);
    if (outcome.outcome !== 'succeeded') throw new CairnError('program_failed', 'Stopped; the same command continues');
    const done = new Map<string, AloneSet>();
    for (const [at, { prefix, plan }] of plans.entries())
      done.set(prefix, await finishSet(job, { store, prefix, plan, ledger: ledgers[at] as Ledger, resumed, signal }));
    return done;
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** A kill of this process loses at most the batches of this time. */
const keepEveryMs = 2000;

async function factsOf({ model, imageSize, preprocessing }: AloneJob): Promise<Pick<AloneIdentity, 'imageSize' | 'preprocessing'>> {
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

function jobOf(job: AloneJob, sets: readonly WantedSet[], listPath: string): OpenJob {
  const [{ identity }] = sets as [WantedSet];
  return {
    kind: 'openExtraction',
    sets: sets.map((set) => ({ modelPath: set.model, extraction: sha256Json(set.identity) })),
    listPath,
    imageRoot: job.source.root,
    datasetRoots: job.places,
    threads: job.threads,
    imageSize: identity.imageSize,
    preprocessing: identity.preprocessing,
    batch: job.batch,
    decodeConcurrency: decodeThreadsOf(job.decodeThreads, job.devices.length),
  };
}

/** Opens models and source in a child, which says what does not fit before anything is written. */
async function tryModel(
  context: Omit<FleetContext, 'client'>,
  { job, open, workDir }: { job: AloneJob; open: OpenJob; workDir: string },
): Promise<void> {
  const child = startChild(context, {});
  try {
    const sets = open.sets.map((set) => ({ ...set, outDir: join(workDir, 'features'), earlier: null }));
    const device = job.devices[0] === null ? 'cpu' : 'cuda';
    await child.ask({ ...open, sets, journals: join(workDir, 'journals'), device }, openedShards);
  } finally {
    await child.kill();
  }
}

/** What the fleet needs of an attempt. Its notes and progress become events. */
function contextOf({ env, stop, tell, store, stragglerMs }: Surroundings & { store: ObjectStore }): Omit<FleetContext, 'client'> {
  return {
    stop,
    store,
    log: createLogger({ name: 'extract', level: 'error' }),
    env: Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))),
    spec: { hangSeconds, stagingPrefix: '' },
    ...(stragglerMs === undefined ? {} : { stragglerMs }),
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

type Finishing = { store: ObjectStore; prefix: string; plan: AlonePlan; ledger: Ledger; resumed: number; signal: AbortSignal };

/**
 * Proves that the shards have every image of the plan once, and turns the parts into a feature set. A set that it replaces loses its manifest
 * first: until the new one is there the set is not complete, and never one with files of both.
 */
async function finishSet(job: AloneJob, { store, prefix, plan, ledger, resumed, signal }: Finishing): Promise<AloneSet> {
  const commits = Array.from({ length: ledger.shards }, (_, index) => ledger.commits.get(index)).filter((commit) => commit !== undefined);
  const sumOf = (value: (commit: (typeof commits)[number]) => number): number => commits.reduce((sum, commit) => sum + value(commit), 0);
  const [rows, rejected] = [sumOf((commit) => commit.rows), sumOf((commit) => commit.rejected)];
  if (commits.length !== ledger.shards || rows + rejected !== plan.images) {
    const message = `The ${commits.length} of ${ledger.shards} shards have ${rows} features and ${rejected} rejected images of ${plan.images}`;
    throw new CairnError('corrupt_artifact', message, { details: { rows, rejected, images: plan.images } });
  }
  const idsSha256 = sha256(commits.map((commit) => commit.idsSha256 ?? '').join(''));
  const list = await store.head(planListKey(prefix), signal);
  const files = [
    ...commits.flatMap((commit) => commit.files),
    { name: aloneImagesFile, key: planListKey(prefix), bytes: list?.bytes ?? 0, sha256: plan.listSha256 },
  ];
  const { identity } = plan;
  const seconds = {
    read: sumOf((commit) => commit.seconds.read),
    decode: sumOf((commit) => commit.seconds.decode),
    infer: sumOf((commit) => commit.seconds.infer),
    write: sumOf((commit) => commit.seconds.write),
  };
  const counts = { images: plan.images, rows, rejected, shards: ledger.shards, idsSha256 };
  await store.remove(`${prefix}/${manifestName}`, signal);
  const commit: ArtifactCommit = {
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
        madeBy: madeByOf(commits),
        countProof: { distinctIds: plan.images, rows, rejected, idsSha256 },
      },
    },
    keeps: partsFolder(prefix),
    signal,
  };
  const manifest = await commitArtifact(store, commit).catch((error: unknown) => extractAgain(ledger, error));
  await removeParts(store, prefix, signal);
  return { ...counts, digest: manifest.digest, resumed, seconds };
}

/** What computed the shards, and the bytes of the images that were read. Shards that were taken over tell nothing. */
function madeByOf(commits: readonly ShardCommit[]) {
  const works = commits.flatMap(({ work }) => work ?? []);
  const distinct = <T>(values: readonly T[]): T[] => [...new Map(values.map((value) => [canonicalJson(value), value])).values()];
  return {
    bytesRead: works.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
    devices: distinct(works.map(({ device }) => device)),
    versions: distinct(works.map(({ versions }) => versions)),
  };
}

/** Files of the set are missing or damaged: their shards are extracted by the next run of the same command. */
async function extractAgain(ledger: Ledger, error: unknown): Promise<never> {
  const names = isCairnError(error) ? faultyParts.safeParse(error.details).data?.names : undefined;
  if (names === undefined) throw error;
  for (const [index, { files }] of [...ledger.commits]) if (files.some(({ name }) => names.includes(name))) await ledger.drop(index);
  const message = `${names.length} files of the set are missing or damaged, such as ${names[0]}: run the same command again, which extracts their shards`;
  throw new CairnError('corrupt_artifact', message, { details: { names }, cause: error });
}
