import { randomUUID } from 'node:crypto';
import {
  candidatesFile,
  isFleetKind,
  partFile,
  type Recipe,
  recipe as recipeSchema,
  type StepKind,
  type SubmitRequestInput,
  stepVersions,
  submitRequest,
  tagsFile,
  votesFile,
} from '@cairn/contract';
import { hintChannel, listen, migrate, openDatabase } from '@cairn/db';
import { createLogger, createSecretKeys, newId, sha256, sha256Json } from '@cairn/runtime';
import { createDatabase } from '@cairn/testing';
import {
  type Actor,
  acquireLead,
  artifactReady,
  createAttempts,
  createEngine,
  defaultLimits,
  type EngineContext,
  type Leadership,
  loadRecipes,
  pendingFinalization,
} from '../index.ts';

export const ada: Actor = { name: 'ada', projectId: 'default', tokenId: newId('token'), address: '192.0.2.7' };

const stage = { list: 'clean', imageSize: 32, epochs: 1, learningRate: 0.1, batch: 4, ranks: 1 };

/** A recipe with two stages and three shards: the whole graph, but small. */
export const smallRecipe: Recipe = recipeSchema.parse({
  name: 'small',
  dataset: 'toy',
  model: { backbone: 'resnet18' },
  stages: { first: { ...stage, from: 'init' }, second: { ...stage, from: 'first' } },
  export: { stage: 'second', imageSize: 32 },
  extract: { index: { list: 'index', shards: 3, workers: 2 }, query: { list: 'query', shards: 1, workers: 1 } },
  register: { model: 'toy' },
});

export const request = (change: Partial<SubmitRequestInput> = {}) => submitRequest.parse({ recipe: smallRecipe, ...change });

/** The details of what each kind of step makes, as attempts report them. */
export const playedDetails: Record<StepKind, Record<string, unknown>> = {
  prepare: {
    lists: {
      clean: { rows: 10, distinct: 10, classes: 2, sha256: sha256('clean') },
      full: { rows: 12, distinct: 12, classes: 3, sha256: sha256('full') },
      index: { rows: 9, distinct: 9, classes: null, sha256: sha256('index') },
      index_train: { rows: 19, distinct: 19, classes: 2, sha256: sha256('index_train') },
      query: { rows: 2, distinct: 2, classes: null, sha256: sha256('query') },
    },
    groundTruth: { sha256: sha256('ground truth') },
  },
  train: { step: 3 },
  export: { imageSize: 32, preprocessing: 'cairn', embeddingDim: 8, cosine: 1 },
  extract: {},
  tag: {},
  vote: {},
  scan: {},
  search: { queries: 2, index: 'art_index', topK: 100 },
  rerank: { queries: 2, index: 'art_index', topK: 100 },
  evaluate: { mapAt100: { kaggle: { all: 0.5 } } },
  register: { model: 'toy', metrics: { mapAt100: 0.5 } },
};

/** The file of a shard of rows. */
const fleetFile = (kind: string, index: number): string =>
  kind === 'tag' ? tagsFile(index) : kind === 'vote' ? votesFile(index) : candidatesFile(index);

/** An engine on its own database, with functions that simulate the controller and the attempts. */
export async function openEngineHarness() {
  const template = { key: 'cairn', migrate: (url: string) => migrate(url).then(() => undefined) };
  const database = await createDatabase({ template });
  const { prisma, close } = openDatabase({ url: database.url, connections: 10 });
  const ctx: EngineContext = {
    prisma,
    log: createLogger({ name: 'test', level: 'silent' }),
    limits: defaultLimits,
    recipes: await loadRecipes(),
    secretKeys: createSecretKeys([{ id: 'k1', key: 'a key for secrets in tests, 32 or more' }]),
  };
  const removed: string[] = [];
  const engine = createEngine(ctx, async (prefix) => {
    removed.push(prefix);
    return 1;
  });
  // Longer than any test file takes on a busy machine.
  let lead = (await acquireLead(prisma, 'test', 600_000)) as Leadership;
  await prisma.dataset.create({
    data: {
      id: newId('dataset'),
      projectId: 'default',
      owner: 'ada',
      name: 'toy',
      version: 1,
      source: { kind: 'folder', root: '/images', metadata: '/metadata', countries: null },
      digest: sha256('toy'),
      digestBasis: 'test',
    },
  });

  const step = (runId: string, name: string) =>
    prisma.step.findUniqueOrThrow({ where: { runId_name: { runId, name } }, include: { artifact: true } });
  const run = (runId: string) => prisma.run.findUniqueOrThrow({ where: { id: runId } });

  /** Creates attempts of a step and reports their processes as running. */
  async function startAttempts(runId: string, name: string, wanted = 1, inPool?: string): Promise<string[]> {
    const { id, pool: own } = await step(runId, name);
    const pool = inPool ?? own;
    const before = new Set((await prisma.attempt.findMany({ where: { stepId: id }, select: { id: true } })).map((row) => row.id));
    await createAttempts(ctx, lead, runId, id, pool, wanted);
    const made = (await prisma.attempt.findMany({ where: { stepId: id }, orderBy: { ordinal: 'asc' } })).filter(
      (row) => !before.has(row.id),
    );
    for (const attempt of made)
      await engine.startAttempt(attempt.id, 1, { host: 'here', pid: 1, instance: randomUUID(), version: 'test', stepVersions });
    return made.map((attempt) => attempt.id);
  }

  const file = (name: string, attempt: string, text = name) => ({
    name,
    key: `staging/${attempt}/${name}`,
    bytes: text.length,
    sha256: sha256(text),
  });

  /** Finalizes without copying bytes: the digest is computed from the staged files. */
  async function finalize(runId: string, name: string): Promise<void> {
    const { id, generation, shardsTotal } = await step(runId, name);
    if (shardsTotal !== null) return finalizeFleet(runId, name);
    const finalization = await pendingFinalization(ctx, id, generation);
    if (!finalization) throw new Error(`${name} has no pending finalization`);
    const files = finalization.files.map(({ name: fileName, bytes, sha256: digestOfFile }) => ({
      name: fileName,
      bytes,
      sha256: digestOfFile,
    }));
    await artifactReady(ctx, finalization, { digest: sha256(JSON.stringify(files)), files, details: finalization.details });
  }

  /** Finalizes a fleet with a separate attempt. */
  async function finalizeFleet(runId: string, name: string): Promise<void> {
    const [attempt = ''] = await startFinalizing(runId, name);
    await engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [], details: { digest: await stagedDigest(attempt) } });
  }

  const startFinalizing = async (runId: string, name: string): Promise<string[]> => startAttempts(runId, name, 1, 'tasks');

  /** As `contentDigest` of libs/storage. */
  async function stagedDigest(attempt: string): Promise<string> {
    const files: { name: string; sha256: string }[] = [];
    for (let from: number | null = 0; from !== null; ) {
      const page: Awaited<ReturnType<typeof engine.stagedFiles>> = await engine.stagedFiles(attempt, 1, from);
      for (const shard of page.shards) files.push(...shard.files.map(({ name, sha256: digest }) => ({ name, sha256: digest })));
      from = page.next;
    }
    return sha256Json(files.sort((a, b) => (a.name < b.name ? -1 : 1)));
  }

  const partsOf = (attempt: string, index: number, hasRejected: boolean, content: string) =>
    (['embeddings', 'metadata', ...(hasRejected ? ['rejected' as const] : [])] as const).map((kind) =>
      file(partFile(kind, index), attempt, content),
    );

  /** Commits every shard that an attempt can claim. */
  async function commitAll(attempt: string, rejected = 0, content = 'ids', kind = 'extract'): Promise<void> {
    for (;;) {
      const { shard } = await engine.claimShard(attempt, 1, { holding: [] });
      if (!shard) return;
      const bad = Math.min(rejected, shard.count);
      await engine.commitShard(attempt, 1, shard.index, {
        rows: shard.count - bad,
        rejected: bad,
        files:
          kind === 'extract' ? partsOf(attempt, shard.index, bad > 0, content) : [file(fleetFile(kind, shard.index), attempt, content)],
        idsSha256: sha256(`ids of ${shard.index}`),
        seconds: { read: 0, decode: 0, infer: 0, write: 0 },
      });
    }
  }

  /** Simulates one ready step to its end. The content of its result is determined by its inputs and `variant`. */
  async function play(runId: string, name: string, variant = ''): Promise<void> {
    const { kind, artifact } = await step(runId, name);
    const [attempt = ''] = await startAttempts(runId, name);
    const isFleet = isFleetKind(kind);
    if (isFleet) await commitAll(attempt, 0, JSON.stringify(artifact?.memoParts), kind);
    const files = isFleet ? [] : [file(`${name}.bin`, attempt, JSON.stringify(artifact?.memoParts) + variant)];
    await engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files, details: isFleet ? {} : playedDetails[kind as StepKind] });
    await finalize(runId, name);
  }

  const ready = async (runId: string) =>
    (await prisma.step.findMany({ where: { runId, state: 'ready' }, orderBy: { position: 'asc' } })).map((row) => row.name);

  /** Simulates every step until none is ready. */
  async function playAll(runId: string): Promise<void> {
    for (let names = await ready(runId); names.length > 0; names = await ready(runId)) for (const name of names) await play(runId, name);
  }

  const over = new AbortController();
  const submit = async (change: Partial<SubmitRequestInput> = {}) => (await engine.submitRun(request(change), ada, null)).runId;
  return {
    ctx,
    engine,
    prisma,
    get lead(): Leadership {
      return lead;
    },
    set lead(next: Leadership) {
      lead = next;
    },
    removed,
    databaseUrl: database.url,
    collectHints: () => collectHints(database.url, over.signal),
    step,
    run,
    ready,
    submit,
    startAttempts,
    finalize,
    startFinalizing,
    stagedDigest,
    partsOf,
    commitAll,
    play,
    playAll,
    file,
    close: async () => {
      over.abort();
      await close();
      await database.drop();
    },
  };
}
export type Harness = Awaited<ReturnType<typeof openEngineHarness>>;

/** What watchers are told from now on. */
async function collectHints(url: string, signal: AbortSignal): Promise<unknown[]> {
  const hints: unknown[] = [];
  const connected = Promise.withResolvers<void>();
  listen({
    ...{ url, channels: [hintChannel], onConnect: connected.resolve, onError: connected.reject },
    onNotification: (_, payload) => void hints.push(JSON.parse(payload)),
    signal,
  });
  await connected.promise;
  return hints;
}
