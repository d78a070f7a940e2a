import { readdirSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type AttemptSpec, type FinishRequest, featureFolders, type InputArtifact, partFile, stepSettings } from '@cairn/contract';
import { createNpy, openParquet, readNeighbours } from '@cairn/retrieval';
import { sha256 } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openAttempt } from '../testing/open-attempt.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { runEvaluate } from './run-evaluate.ts';
import { runRegister } from './run-register.ts';
import { runScan } from './run-scan.ts';
import { runSearch } from './run-search.ts';

vi.setConfig({ testTimeout: 120_000 });

/** Puts local files below `prefix` into the store as an artifact. */
async function artifactOfFiles(
  store: ObjectStore,
  kind: InputArtifact['kind'],
  folder: string,
  names: readonly string[],
  details: Record<string, unknown> = {},
): Promise<InputArtifact> {
  const prefix = `${kind}/art_${folder.split('/').at(-1)}/`;
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))]));
  for (const [name, bytes] of Object.entries(files)) await store.put(`${prefix}${name}`, bytes);
  return artifactOf(kind, prefix, files, details);
}

/** A feature set of vectors of length 2, one part. */
async function makeFeatures(store: ObjectStore, folder: string, vectors: Record<string, [number, number]>): Promise<InputArtifact> {
  const names = [partFile('embeddings', 0), partFile('metadata', 0)] as const;
  for (const name of names) await mkdir(dirname(join(folder, name)), { recursive: true });
  const npy = await createNpy(join(folder, names[0]), 2);
  await npy.append(Float16Array.from(Object.values(vectors).flat()));
  await npy.finish();
  await npy.close();
  const parquet = await openParquet();
  await parquet.write({ path: join(folder, names[1]), columns: { image_id: 'text' }, rows: Object.keys(vectors).map((id) => [id]) });
  await parquet.close();
  return artifactOfFiles(store, 'features', folder, names);
}

async function makeLists(store: ObjectStore, folder: string): Promise<InputArtifact> {
  await mkdir(join(folder, 'lists'), { recursive: true });
  const parquet = await openParquet();
  const columns = { query_id: 'text', image_id: 'text', usage: 'text' } as const;
  const rows = [
    ['q1', 'a', 'Public'],
    ['q2', 'c', 'Private'],
  ];
  await parquet.write({ path: join(folder, 'lists/ground_truth.parquet'), columns, rows });
  const query = { path: join(folder, 'lists/query.parquet'), columns: { image_id: 'text', path: 'text' } as const };
  await parquet.write({ ...query, rows: ['q1', 'q2'].map((id) => [id, `test/${id}.jpg`]) });
  await parquet.close();
  return artifactOfFiles(store, 'lists', folder, ['lists/ground_truth.parquet', 'lists/query.parquet']);
}

/** The artifact of an attempt's result, for the next steps; its files are in the store already. */
function resultOf(outcome: FinishRequest, kind: InputArtifact['kind'], spec: AttemptSpec): InputArtifact {
  if (outcome.outcome !== 'succeeded') throw new Error(outcome.message);
  return {
    ...artifactOf(kind, spec.stagingPrefix, {}, outcome.details),
    files: outcome.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
  };
}

test('search, evaluation and registration each work on the artifacts of the previous step', async () => {
  const { context, store, folder, plane, reporter } = await openAttempt(specOf('search'));
  const query = await makeFeatures(store, join(folder, 'query'), { q1: [1, 0], q2: [0, 1] });
  const index = await makeFeatures(store, join(folder, 'index'), { a: [1, 0], b: [0.6, 0.8], c: [-1, 0] });
  const lists = await makeLists(store, join(folder, 'lists'));

  const searched = await runSearch({ ...context, spec: { ...context.spec, inputs: { query, index } } });
  expect(searched).toMatchObject({
    outcome: 'succeeded',
    files: [{ name: 'neighbours.parquet' }],
    details: { queries: 2, index: index.id, topK: 100 },
  });
  await reporter.end();
  expect(plane.items('progress').at(-1)).toMatchObject({ done: 3, total: 3, unit: 'rows' });

  const neighbours = resultOf(searched, 'neighbours', context.spec);
  const evaluate = specOf('evaluate', { inputs: { lists, neighbours, index } });
  const evaluated = await runEvaluate({ ...context, spec: evaluate });
  // q1 finds `a` first; q2 finds `c` after `b` and `a`, in either order.
  expect(evaluated).toMatchObject({
    outcome: 'succeeded',
    files: [{ name: 'metrics.json' }, { name: 'per_query.parquet' }, { name: 'submission.csv' }],
    details: { mapAt100: { kaggle: { public: 1 }, intervals: { kaggle: { public: { low: 1, high: 1 } } } }, galleryRows: 3 },
  });
  expect((await store.getBytes(`${evaluate.stagingPrefix}submission.csv`)).toString()).toMatch(/^id,images\nq1,a b c\n/);

  const evaluation = resultOf(evaluated, 'evaluation', evaluate);
  const model = artifactOf('model', 'models/art_9/', {}, { imageSize: 64, preprocessing: 'cairn', embeddingDim: 2, cosine: 1 });
  const checkpoint = artifactOf('checkpoint', 'checkpoints/art_8/', {}, { step: 40, epoch: 4, classes: 3 });
  const register = specOf('register', { inputs: { lists, neighbours, index, query, evaluation, model, checkpoint } });
  const registered = await runRegister({ ...context, spec: register });
  expect(registered).toMatchObject({
    outcome: 'succeeded',
    files: [{ name: 'card.md' }],
    details: { model: 'landmarks', metrics: { mapAt100Public: 1, indexImages: 3, trainedSteps: 40 } },
  });
  const card = (await store.getBytes(`${register.stagingPrefix}card.md`)).toString();
  expect(card).toContain('# landmarks');
  expect(card).toContain('| mAP@100, Public | 100.00 % |');
  expect(card).toContain(index.digest);
  expect(card).toContain(`Measured on a gallery of 3 images. SHA-256 of their sorted ids, one a line: \`${sha256('a\nb\nc\n')}\`.`);
  expect(card).toContain('uint8 [N, 64, 64, 3]');
});

test('a search merges what a fleet found in its shards, in the order of one that searches by itself', async () => {
  const { context, store, folder, plane } = await openAttempt(specOf('scan', { settings: stepSettings.scan.parse({ threads: 1 }) }));
  const query = await makeFeatures(store, join(folder, 'query'), { q1: [1, 0], q2: [0, 1] });
  const vectors = { c: [0.6, 0.8], a: [1, 0], d: [0.6, 0.8], b: [0.6, 0.8], e: [-1, 0] } satisfies Record<string, [number, number]>;
  const made = await makeFeatures(store, join(folder, 'index'), vectors);
  const index = { ...made, details: { list: 'index', rows: 5, rejected: 0, shards: 1 } };
  plane.state.shards = [0, 2, 3].map((from, at) => ({ index: at, from, count: [2, 1, 2][at] ?? 0, holder: null, tries: 0, commit: null }));
  const scanned = await runScan({ ...context, spec: { ...context.spec, inputs: { query, index } } });
  expect(scanned).toEqual({ outcome: 'succeeded', files: [], details: {} });
  const commits = plane.state.shards.map(({ commit }) => commit);
  expect(commits.map((commit) => [commit?.rows, commit?.files.length])).toEqual([
    [2, 1],
    [1, 1],
    [2, 1],
  ]);
  const staged = commits.flatMap((commit) => commit?.files ?? []);
  const candidates = {
    ...artifactOf('candidates', context.spec.stagingPrefix, {}),
    files: staged.map(({ name, bytes, sha256: digest }) => ({ name, bytes, sha256: digest })),
  };

  const merging = await openAttempt(specOf('search'));
  const merged = await runSearch({ ...merging.context, store, spec: { ...merging.context.spec, inputs: { query, index, candidates } } });
  expect(merged).toMatchObject({ outcome: 'succeeded', details: { queries: 2, index: index.id, topK: 100 } });
  const parquet = await openParquet();
  onTestFinished(() => parquet.close());
  const { neighbours } = await readNeighbours(parquet, join(merging.context.workDir, 'search', 'neighbours.parquet'));
  // Equal scores by id, whatever the shard.
  expect([...neighbours].map(([id, { imageIds }]) => `${id} ${imageIds.join('')}`)).toEqual(['q1 abcde', 'q2 bcdae']);
  // Of the features it read only the ids.
  const folders = readdirSync(join(merging.context.workDir, 'inputs', index.id));
  expect(folders).toEqual([featureFolders.metadata]);
});

test('a search that is stopped ends at once', async () => {
  const { context, store, folder, stop } = await openAttempt(specOf('search'));
  const query = await makeFeatures(store, join(folder, 'query'), { q1: [1, 0] });
  stop.ask({ cause: 'cancelled', reason: 'cancelled', graceSeconds: 10 });
  const running = runSearch({ ...context, spec: { ...context.spec, inputs: { query, index: query } } });
  await expect(running).rejects.toThrow(/asked to stop: cancelled/);
});
