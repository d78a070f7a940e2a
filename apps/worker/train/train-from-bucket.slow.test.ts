import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttemptSpecOf, FinishRequest, ImageSource } from '@cairn/contract';
import { type ListRow, packTars, planExtraction, readList } from '@cairn/dataset';
import { openParquet } from '@cairn/retrieval';
import { openStore } from '@cairn/storage';
import { type S3Proxy, startS3, startS3Proxy, type TestS3, trainerPython, type Verdict } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { withImageSocket } from '../images/image-socket.ts';
import { pngOf } from '../testing/images.ts';
import { openAttempt } from '../testing/open-attempt.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { runTrain } from './run-train.ts';

vi.setConfig({ testTimeout: 400_000, hookTimeout: 60_000 });

const [tars, inTar] = [16, 8];
const ids = Array.from({ length: tars * inTar }, (_, index) => index.toString(16).padStart(16, '0'));
/** Every third image is the gallery's, so that their ranges have gaps. */
const queries = ids.slice(0, 6);
const gallery = ids.filter((_, index) => index % 3 === 0);

let s3: TestS3;
let proxy: S3Proxy;
let requests: string[] = [];
let verdict: (target: string) => Verdict = () => 'pass';

beforeAll(async () => {
  s3 = await startS3();
  proxy = await startS3Proxy(s3.port);
  proxy.decide = (method, target) => {
    if (method !== 'GET' || !target.includes('.tar')) return 'pass';
    requests.push(target);
    return verdict(target);
  };
  return async () => {
    await proxy.close();
    await s3.stop();
  };
});

afterAll(() => vi.unstubAllEnvs());

/** The lists of a collection as `prepare` makes them, in an order that scatters each tar over all of them. */
async function listsOf(
  folder: string,
  source: Pick<ImageSource, 'kind' | 'root'>,
  places: string[] | null,
): Promise<Record<string, Buffer>> {
  const list = join(folder, 'ids.txt');
  writeFileSync(list, ids.map((id) => `${id}\n`).join(''));
  const out = join(folder, 'plan.parquet');
  await planExtraction({ list, source, places, out });
  const placeOf = new Map((await Array.fromAsync(readList(out))).flat().map((row) => [row.imageId, row]));
  const scattered = ids.toSorted((a, b) => (a.at(-1) ?? '').localeCompare(b.at(-1) ?? ''));
  const parquet = await openParquet();
  const write = async (name: string, rows: readonly string[]): Promise<Buffer> => {
    const path = join(folder, `${name}.parquet`);
    await parquet.write({
      path,
      columns: {
        ...{ image_id: 'text', path: 'text', label: 'integer', noisy: 'integer', continent: 'text', tar: 'text' },
        ...{ offset: 'integer', size: 'integer', file_bytes: 'integer', file_changed_ms: 'bigint' },
      },
      rows: rows.map((id) => rowOf(placeOf.get(id) as ListRow)),
    });
    return readFileSync(path);
  };
  try {
    const truths = join(folder, 'truth.parquet');
    const truthRows = queries.flatMap((query) => gallery.slice(0, 3).map((image) => [query, image, 'Public']));
    await parquet.write({ path: truths, columns: { query_id: 'text', image_id: 'text', usage: 'text' }, rows: truthRows });
    return {
      'lists/clean.parquet': await write('clean', scattered),
      'lists/query.parquet': await write('query', queries),
      'lists/index.parquet': await write('index', gallery),
      'lists/ground_truth.parquet': readFileSync(truths),
    };
  } finally {
    await parquet.close();
  }
}

function rowOf({ imageId, path, tar, offset, size, fileBytes, fileChangedMs }: ListRow) {
  const number = ids.indexOf(imageId);
  const continent = ['Asia', 'Europe', null][number % 3] ?? null;
  return [
    imageId,
    path,
    number % 8,
    number % 2,
    continent,
    tar ?? null,
    offset ?? null,
    size ?? null,
    fileBytes ?? null,
    fileChangedMs ?? null,
  ];
}

type Trained = { outcome: FinishRequest; losses: number[]; scores: number[]; notes: string[] };

type How = {
  isCached?: boolean;
  /** Of the requests for tars in training. */
  verdict?: typeof verdict;
};

/** Trains two epochs on the images of a source, and scores them. */
async function train(
  kind: 'folder' | 'bucket',
  settings: Partial<AttemptSpecOf<'train'>['settings']> = {},
  how: How = {},
): Promise<Trained> {
  const base = specOf('train');
  const spec = {
    ...base,
    // A busy machine takes its time.
    hangSeconds: 200,
    settings: {
      ...{ ...base.settings, model: { ...base.settings.model, backbone: 'resnet10_w32' }, threadsPerRank: 1 },
      ...{ epochs: 2, batch: 8, loaderWorkers: 2, logEverySteps: 1, evaluate: 'end', shuffleBuffer: 32, ...settings },
    },
  } satisfies AttemptSpecOf<'train'>;
  const { context, folder, store, plane, reporter } = await openAttempt(spec, { python: trainerPython() });
  const root = join(folder, 'tars');
  const names = await packTars(
    root,
    'train',
    ids.map((id, index) => ({ id, read: async () => pngOf(index) })),
    tars,
  );
  const address = `s3://${s3.bucket}/${kind}`;
  if (kind === 'bucket') {
    const bucket = openStore(s3.url(kind));
    for (const name of names) if ((await bucket.head(name)) === null) await bucket.put(name, { file: join(root, name) });
  }
  const source = { kind: 'tars', root: kind === 'bucket' ? address : root } as const;
  const datasetRoots = kind === 'bucket' ? [`${address}?endpoint=${proxy.endpoint}`] : ['/'];
  const files = await listsOf(folder, source, kind === 'bucket' ? datasetRoots : null);
  for (const [name, bytes] of Object.entries(files)) await store.put(`lists/art_1/${name}`, bytes);
  const counts = { clean: { rows: ids.length, distinct: ids.length, classes: 8 } };
  const imageCache = how.isCached ? { folder: join(folder, 'cache'), bytes: 2 ** 24 } : null;
  if (imageCache !== null) mkdirSync(imageCache.folder);
  requests = [];
  const inputs = { lists: artifactOf('lists', 'lists/art_1/', files, { lists: counts }) };
  const attempt = { ...context, datasetRoots, imageCache, spec: { ...spec, inputs, source: { ...spec.source, ...source } } };
  verdict = how.verdict ?? verdict;
  const outcome = await withImageSocket(attempt, runTrain);
  verdict = () => 'pass';
  await reporter.end();
  const valuesOf = (name: string) => plane.items('metrics').flatMap((item) => (item.name === name ? item.values : []));
  return {
    outcome,
    losses: valuesOf('loss'),
    scores: valuesOf('map_at_100'),
    notes: plane.items('note').map(({ message }) => message),
  };
}

/** What a server with troubles does, one request after another. */
function troubles(): () => Verdict {
  const turns: Verdict[] = ['pass', { status: 503, code: 'SlowDown' }, { cutAfter: 700 }, 'lose answer', 'pass'];
  let turn = 0;
  return () => turns[turn++ % turns.length] ?? 'pass';
}

test.each(['softmax', 'gld'] as const)(
  'with the sampler %s a stage on tars in a bucket is that on the same tars in a folder, reads runs of them in one request each, and goes on after faults',
  async (sampler) => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', s3.env.AWS_ACCESS_KEY_ID);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', s3.env.AWS_SECRET_ACCESS_KEY);
    const local = await train('folder', { sampler });
    expect(local.outcome.outcome).toBe('succeeded');
    expect(local.losses.length).toBeGreaterThan(20);
    const bucket = await train('bucket', { sampler });
    expect(bucket).toEqual({ ...local, outcome: { ...local.outcome, files: expect.anything() } });
    // Each tar is a run: once an epoch, and once in the evaluation.
    expect(requests.length).toBeLessThanOrEqual(4 * tars);

    if (sampler === 'gld') return;
    const cached = await train('bucket', { sampler }, { isCached: true, verdict: troubles() });
    expect(cached.losses).toEqual(local.losses);
    expect(cached.scores).toEqual(local.scores);
  },
);

test('the cache of the node is filled by runs, and is read in later epochs', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', s3.env.AWS_ACCESS_KEY_ID);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', s3.env.AWS_SECRET_ACCESS_KEY);
  const { outcome } = await train('bucket', { epochs: 4 }, { isCached: true });
  expect(outcome.outcome).toBe('succeeded');
  expect(requests.length).toBeGreaterThanOrEqual(tars);
  expect(requests.length).toBeLessThanOrEqual(tars + 4);
});

test('credentials that expire in the middle of an epoch end the stage with one clear error', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', s3.env.AWS_ACCESS_KEY_ID);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', s3.env.AWS_SECRET_ACCESS_KEY);
  let left = 12;
  const { outcome } = await train('bucket', {}, { verdict: () => (left-- > 0 ? 'pass' : { status: 403, code: 'ExpiredToken' }) });
  expect(outcome).toMatchObject({
    outcome: 'failed',
    code: 'source_denied',
    message: expect.stringContaining('the credentials have expired. Renew them'),
  });
});
