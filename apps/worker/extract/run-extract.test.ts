import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AttemptSpecOf, partFile } from '@cairn/contract';
import { planExtraction } from '@cairn/dataset';
import { createNpy, openJournal, openParquet, readFeatures } from '@cairn/retrieval';
import { newId, processesByAttempt, sha256, sha256Json } from '@cairn/runtime';
import { commitArtifact } from '@cairn/storage';
import { expect, test, vi } from 'vitest';
import { failureOf } from '../agent/failure.ts';
import { makeImages, writeList } from '../testing/images.ts';
import { openAttempt } from '../testing/open-attempt.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { extractOn, runExtract } from './run-extract.ts';

vi.setConfig({ testTimeout: 40_000 });

/** A network of one matrix product: 8 x 8 images, 4 values, made by libs/retrieval/onnx/make_graphs.py with `{"dim": 4}`. */
const modelBytes = readFileSync(join(import.meta.dirname, '../testing/features.onnx'));

const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 45_000, interval: 10 });

type Options = { images?: number; shards?: number; broken?: number[] };

/** An extraction of a few images in shards of equal size, with its model and list in the store. */
async function openExtraction({ images = 12, shards = 3, broken = [] }: Options = {}) {
  const attempt = await openAttempt(specOf('extract'));
  const made = makeImages(join(attempt.folder, 'images'), images, broken);
  const listFile = join(attempt.folder, 'index.parquet');
  await writeList(listFile, made.ids);
  const listBytes = readFileSync(listFile);
  const details = { lists: { index: { rows: images, distinct: images, classes: 3 } } };
  const lists = artifactOf('lists', 'lists/art_1/', { 'lists/index.parquet': listBytes }, details);
  const modelFacts = { imageSize: 8, preprocessing: 'cairn', embeddingDim: 4, cosine: 1 };
  const model = artifactOf('model', 'models/art_2/', { 'model.onnx': modelBytes }, modelFacts);
  await attempt.store.put('lists/art_1/lists/index.parquet', listBytes);
  await attempt.store.put('models/art_2/model.onnx', modelBytes);
  const { spec } = attempt.context;
  const context = {
    ...attempt.context,
    spec: {
      ...spec,
      inputs: { lists, model },
      source: { ...spec.source, root: made.root },
      settings: { ...spec.settings, batch: 4 },
    } satisfies AttemptSpecOf<'extract'>,
  };
  const count = images / shards;
  attempt.plane.state.shards = Array.from({ length: shards }, (_, index) => ({
    index,
    from: index * count,
    count,
    holder: null,
    tries: 0,
    commit: null,
  }));
  return { ...attempt, context, ids: made.ids };
}

type Extraction = Awaited<ReturnType<typeof openExtraction>>;

const committed = ({ plane }: Extraction) => plane.state.shards.filter((shard) => shard.commit !== null).length;
const childrenOf = ({ context }: Extraction) => processesByAttempt().get(context.spec.attempt.id) ?? [];
const childOf = (extraction: Extraction) => childrenOf(extraction)[0]?.pid;

test('a worker extracts every shard, stores its parts as committed, and ends when none is left', async () => {
  const extraction = await openExtraction({ broken: [5] });
  const { context, plane, store, ids, reporter, lines } = extraction;
  const order: string[] = [];
  plane.state.onRequest = (path) => void (path === '/shards/1/commit' && order.push('commit'));
  const flushing = {
    ...reporter,
    async flush() {
      await reporter.flush();
      order.push('flush');
    },
  };
  expect(await runExtract({ ...context, reporter: flushing })).toEqual({ outcome: 'succeeded', files: [], details: {} });
  // The last commit may fail the step, after which nothing more is accepted.
  expect(order).toEqual(['flush', 'commit']);
  await reporter.end();
  const commits = plane.state.shards.map((shard) => shard.commit);
  expect(commits.map((commit) => [commit?.rows, commit?.rejected])).toEqual([
    [4, 0],
    [3, 1],
    [4, 0],
  ]);
  expect(commits.map((commit) => commit?.idsSha256)).toEqual(
    [0, 4, 8].map((from) =>
      sha256(
        ids
          .slice(from, from + 4)
          .map((id) => `${id}\n`)
          .join(''),
      ),
    ),
  );
  expect(commits.map((commit) => commit?.files.length)).toEqual([2, 3, 2]);
  for (const file of commits.flatMap((commit) => commit?.files ?? [])) {
    expect(file.key).toBe(`${context.spec.stagingPrefix}${file.name}`);
    expect(sha256(await store.getBytes(file.key))).toBe(file.sha256);
  }
  const features = await featuresOf(extraction);
  expect([...features.ids]).toEqual(ids.filter((_, index) => index !== 5));
  expect(features.dim).toBe(4);
  expect(plane.items('progress').at(-1)).toMatchObject({ done: 12, total: 12, unit: 'images' });
  expect(new Set(plane.items('metrics').map((item) => item.name))).toContain('images_per_second');
  expect(lines.join('')).toContain(`"imageId":"${ids[5]}"`);
  expect(plane.items('note').map((item) => item.message)).toContainEqual(
    expect.stringMatching(/Shard 1: 1 of 4 images .*: index\/.*\.jpg \(.+\)/),
  );
  expect(childOf(extraction)).toBeUndefined();
});

test('a missing image root is an infrastructure failure: nothing is committed, and the shard is retried', async () => {
  const extraction = await openExtraction();
  const { context } = extraction;
  renameSync(context.spec.source.root, `${context.spec.source.root}-away`);
  const error = await runExtract(context).catch((thrown: unknown) => thrown);
  expect(failureOf(error)).toMatchObject({ cause: 'infrastructure', code: 'storage_failed' });
  expect(committed(extraction)).toBe(0);
});

test('a worker with two devices has a child and a shard for each at a time, and claims none twice', async () => {
  const extraction = await openExtraction({ shards: 4 });
  const { context, plane } = extraction;
  // The first to finish waits until both are working.
  const { commitShard } = context.client;
  const client: typeof context.client = {
    ...context.client,
    async commitShard(index, commit) {
      await eventually(() => childrenOf(extraction).length).toBe(2);
      await eventually(() => plane.state.shards.filter((shard) => shard.holder === 'attempt').length).toBeGreaterThanOrEqual(2);
      await commitShard(index, commit);
    },
  };
  expect(await extractOn({ ...context, client }, [null, null])).toMatchObject({ outcome: 'succeeded' });
  expect(plane.state.shards.map((shard) => [shard.tries, shard.commit?.rows])).toEqual([
    [1, 3],
    [1, 3],
    [1, 3],
    [1, 3],
  ]);
});

test('a worker that was restarted in its attempt does the shard it had, even when no other worker can', async () => {
  const extraction = await openExtraction();
  const { context, plane } = extraction;
  const [first] = plane.state.shards;
  if (first !== undefined) Object.assign(first, { holder: 'attempt', tries: 1 });
  expect(await runExtract(context)).toMatchObject({ outcome: 'succeeded' });
  expect(plane.state.shards.map((shard) => [shard.tries, shard.commit?.rows])).toEqual([
    [1, 4],
    [1, 4],
    [1, 4],
  ]);
});

test('a shard whose lease was lost is dropped, and the others are done', async () => {
  const extraction = await openExtraction();
  const { context, plane } = extraction;
  const lost = plane.state.shards[1];
  plane.state.onRequest = (path) => {
    if (path !== '/shards/1/commit' || lost === undefined) return;
    // The other attempt has it and finishes it at once.
    lost.holder = 'other';
    lost.commit = { rows: 4, rejected: 0, files: [], idsSha256: null, seconds: { read: 0, decode: 0, infer: 0, write: 0 } };
  };
  expect(await runExtract(context)).toMatchObject({ outcome: 'succeeded' });
  expect(committed(extraction)).toBe(3);
  expect(lost?.commit?.files).toEqual([]);
});

test('a worker without a shard waits for those of others, and takes over the ones they release', async () => {
  const extraction = await openExtraction();
  const { context, plane } = extraction;
  const [first] = plane.state.shards;
  if (first !== undefined) first.holder = 'other';
  const running = runExtract(context);
  await eventually(() => committed(extraction)).toBe(2);
  if (first !== undefined) first.holder = null;
  expect(await running).toMatchObject({ outcome: 'succeeded' });
  expect(committed(extraction)).toBe(3);
});

test('another child goes on with the shard of a killed one', async () => {
  const extraction = await openExtraction();
  const { context, plane, reporter } = extraction;
  let kills = 0;
  plane.state.onRequest = (path) => {
    const pid = childOf(extraction);
    if (path !== '/shards/claim' || pid === undefined || kills > 0) return;
    kills += 1;
    process.kill(pid, 'SIGKILL');
  };
  expect(await runExtract(context)).toMatchObject({ outcome: 'succeeded' });
  await reporter.end();
  expect(kills).toBe(1);
  expect(committed(extraction)).toBe(3);
  expect(plane.state.shards.map((shard) => shard.tries)).toEqual([1, 1, 1]);
  expect(plane.items('note').map((item) => item.message)).toContainEqual(expect.stringMatching(/SIGKILL; another one goes on behind/));
});

/** Features that no model returns: of each row its number, and 1. */
const planted = (rows: number) => Float16Array.from({ length: rows * 4 }, (_, at) => (at % 4 === 0 ? Math.floor(at / 4) : 1));

test('a worker goes on from what the last holder of its shard had kept, and keeps its own batches below its own prefix', async () => {
  const extraction = await openExtraction({ shards: 1 });
  const { context, plane, store, folder, ids } = extraction;
  const { model, lists } = context.spec.inputs;
  const path = join(folder, 'journal');
  const key = sha256Json([model.digest, lists.files[0]?.sha256]);
  const { journal } = await openJournal(path, { extraction: key, part: 0, dim: 4 });
  await journal.append({ imageIds: ids.slice(0, 3), features: planted(3) });
  await journal.close();
  const before = 'staging/att_before/';
  await store.put(`${before}partial/0/00000/000000000000`, { file: path });
  plane.state.resumeFrom = before;
  const partsBelow = (prefix: string) => Array.fromAsync(store.list(`${prefix}partial`), ({ key: name }) => name);
  let keptAtCommit: string[] = [];
  plane.state.onRequest = async (at) => {
    if (at === '/shards/0/commit') keptAtCommit = await partsBelow(context.spec.stagingPrefix);
  };
  expect(await extractOn(context, [null], { keepEveryMs: 0 })).toMatchObject({ outcome: 'succeeded' });
  const features = await featuresOf(extraction);
  expect([...features.ids]).toEqual(ids);
  expect(await features.read(0, 3)).toEqual(new Float32Array(planted(3)));
  expect(plane.state.shards[0]?.commit).toMatchObject({ rows: 12, rejected: 0 });
  expect(keptAtCommit).toContainEqual(expect.stringMatching(/partial\/0\/00000\/000000000000$/));
  // A committed shard needs nothing of it any more.
  expect(await partsBelow(context.spec.stagingPrefix)).toEqual([]);
  expect(await partsBelow(before)).toEqual([]);
});

test('what an earlier set has of the list is taken over, and its rejected images are read again where that is asked', async () => {
  const extraction = await openExtraction({ images: 6, shards: 2 });
  const { context, plane, store, folder, ids, reporter } = extraction;
  const list = join(folder, 'planned.parquet');
  const idsFile = join(folder, 'ids.txt');
  writeFileSync(idsFile, ids.join('\n'));
  await planExtraction({ list: idsFile, source: { kind: 'folder', root: context.spec.source.root }, places: null, out: list });
  const listBytes = readFileSync(list);
  await store.put('lists/art_1/lists/index.parquet', listBytes);
  const { lists, model } = context.spec.inputs;
  const planned = artifactOf('lists', 'lists/art_1/', { 'lists/index.parquet': listBytes }, lists.details);
  await plantSet(extraction, 'features/art_9', ids.slice(0, 4));
  const earlier = { id: newId('artifact'), prefix: 'features/art_9/', listKey: 'lists/art_1/lists/index.parquet', keepsRejected: false };
  const spec = { ...context.spec, inputs: { lists: planned, model }, earlier };
  expect(await runExtract({ ...context, spec })).toMatchObject({ outcome: 'succeeded' });
  const features = await featuresOf(extraction);
  expect([...features.ids]).toEqual(ids);
  expect(await features.read(0, 4)).toEqual(new Float32Array(planted(4)));
  expect(await features.read(4, 1)).not.toEqual(new Float32Array([4, 1, 1, 1]));
  await reporter.end();
  expect(plane.items('note').map(({ message }) => message)).toContainEqual(
    expect.stringMatching(/^4 of 6 images are taken over from art_/),
  );
});

/** The committed features. */
async function featuresOf({ plane, store, folder }: Extraction) {
  for (const file of plane.state.shards.flatMap(({ commit }) => commit?.files ?? []))
    await store.download(file.key, join(folder, 'set', file.name));
  const parquet = await openParquet();
  const features = await readFeatures(join(folder, 'set'), parquet);
  await parquet.close();
  return features;
}

/** A complete feature set of these images. */
async function plantSet({ store, folder }: Extraction, prefix: string, imageIds: readonly string[]): Promise<void> {
  const [npyPath, idsPath] = [join(folder, 'planted.npy'), join(folder, 'planted.parquet')];
  const npy = await createNpy(npyPath, 4);
  await npy.append(planted(imageIds.length));
  await npy.finish();
  const parquet = await openParquet();
  await parquet.write({ path: idsPath, columns: { image_id: 'text' }, rows: imageIds.map((id) => [id]) });
  await parquet.close();
  const files = [];
  for (const [name, file] of Object.entries({ [partFile('embeddings', 0)]: npyPath, [partFile('metadata', 0)]: idsPath })) {
    const { bytes, sha256: digest } = await store.put(`planted/${name}`, { file });
    files.push({ name, from: `planted/${name}`, bytes, sha256: digest });
  }
  const manifest = { kind: 'features', id: 'art_9', protocol: 1, createdAt: new Date(0).toISOString(), details: {} } as const;
  await commitArtifact(store, { prefix, files, manifest });
}

test('a child that crashes repeatedly ends the attempt', async () => {
  const extraction = await openExtraction();
  const { context } = extraction;
  // Our interpreters do not support this option: the child exits before it can listen.
  const env = { ...context.env, NODE_OPTIONS: '--no-such-option' };
  await expect(runExtract({ ...context, env })).rejects.toMatchObject({ code: 'program_failed' });
  expect(extraction.plane.state.shards.every((shard) => shard.holder === null)).toBe(true);
});

test('a stop releases the shard within the grace period and ends as requested', async () => {
  const extraction = await openExtraction();
  const { context, plane, stop } = extraction;
  plane.state.onRequest = (path) => {
    if (path === '/shards/1/commit') stop.ask({ cause: 'cancelled', reason: 'ann has seen enough', graceSeconds: 10 });
  };
  expect(await runExtract(context)).toMatchObject({ outcome: 'cancelled' });
  expect(plane.state.shards.filter((shard) => shard.holder === 'attempt' && shard.commit === null)).toEqual([]);
  expect(childOf(extraction)).toBeUndefined();
});

test('an incompatible model ends the attempt with the reason, and the shard is released', async () => {
  const extraction = await openExtraction();
  const { context, plane, store } = extraction;
  const bytes = Buffer.from('no model');
  await store.put('models/art_2/model.onnx', bytes);
  const { model, lists } = context.spec.inputs;
  const broken = artifactOf('model', 'models/art_2/', { 'model.onnx': bytes }, model?.details);
  const spec = { ...context.spec, inputs: { model: broken, ...(lists === undefined ? {} : { lists }) } };
  await expect(runExtract({ ...context, spec })).rejects.toMatchObject({ code: 'model_mismatch' });
  expect(plane.state.shards.every((shard) => shard.holder === null)).toBe(true);
});

test('a superseded worker ends its child and commits nothing more', async () => {
  const extraction = await openExtraction();
  const { context, plane } = extraction;
  plane.state.onRequest = (path) => {
    if (path === '/shards/1/commit') plane.state.superseded = true;
  };
  await expect(runExtract(context)).rejects.toMatchObject({ code: 'superseded' });
  expect(committed(extraction)).toBeLessThan(3);
  expect(childOf(extraction)).toBeUndefined();
});
