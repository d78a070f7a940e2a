import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type InputArtifact, type RerankMode, stepSettings } from '@cairn/contract';
import { type LocalMatching, openParquet, placeAt, readFeatures, readNeighbours, searchModels } from '@cairn/retrieval';
import { newId, sha256 } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { trainerPython } from '@cairn/testing';
import { expect, test, vi } from 'vitest';
import { pngOf } from '../testing/images.ts';
import { openAttempt } from '../testing/open-attempt.ts';
import { artifactOf, specOf } from '../testing/specs.ts';
import { runRerank } from './run-rerank.ts';
import { runTag } from './run-tag.ts';
import { runVote } from './run-vote.ts';

vi.setConfig({ testTimeout: 120_000 });

/** Two models' feature sets, with labels of the references: see its README. A third model has those of the first. */
const given = fileURLToPath(new URL('../../../libs/retrieval/rerank/testing/reference-case', import.meta.url));
const folders = { M0: 'M0', M1: 'M1', M2: 'M0' };
const models = Object.entries(folders);

async function stored(store: ObjectStore, kind: InputArtifact['kind'], prefix: string, files: Record<string, Buffer>) {
  for (const [name, bytes] of Object.entries(files)) await store.put(`${prefix}${name}`, bytes);
  return artifactOf(kind, prefix, files);
}

/** The feature sets and the list in a store, by their roles. */
async function inputsIn(store: ObjectStore, roles: readonly string[]): Promise<Record<string, InputArtifact>> {
  const inputs: Record<string, InputArtifact> = {};
  for (const [model, set] of models)
    for (const role of roles) {
      const folder = join(given, 'sets', set, role);
      const paths = readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
      const files = paths.map(({ parentPath, name }) => join(parentPath, name)).map((path) => [relative(folder, path), readFileSync(path)]);
      inputs[`${role}.${model}`] = await stored(store, 'features', `features/${model}-${role}/`, Object.fromEntries(files));
    }
  const labels = { 'lists/index_train.parquet': readFileSync(join(given, 'labels.parquet')) };
  return roles.includes('references') ? { ...inputs, lists: await stored(store, 'lists', 'lists/art_1/', labels) } : inputs;
}

/** What `cairn search` makes of the same feature sets. */
async function searched(mode: RerankMode, weights: Record<string, number>, out: string, localMatching: LocalMatching | null = null) {
  const parquet = await openParquet();
  try {
    const folder = (set: string, role: string): string => join(given, 'sets', set, role);
    const sets = models
      .filter(([name]) => Object.hasOwn(weights, name))
      .map(([name, set]) => ({
        ...{ name, weight: weights[name] ?? 1, queries: folder(set, 'query'), index: folder(set, 'index'), whitening: null },
        references: mode === 'off' ? null : folder(set, 'references'),
      }));
    const labels = mode === 'off' ? null : join(given, 'labels.parquet');
    const { rerank: settings, topK, blockRows } = stepSettings.rerank.parse({ weights, rerank: { mode } });
    await searchModels({ parquet, models: sets, labels, settings, localMatching, topK, blockRows, threads: 1, solution: null, out });
    return await readNeighbours(parquet, join(out, 'neighbours.parquet'));
  } finally {
    await parquet.close();
  }
}

test.each([
  ['off', ['query', 'index']],
  ['before_merge', ['query', 'index', 'references']],
] as const)('rerank %s finds to the bit what `cairn search` finds in the same feature sets', async (mode, roles) => {
  const { context, store, folder, plane, reporter } = await openAttempt(specOf('rerank'));
  // Not by name, as the database may give them.
  const settings = stepSettings.rerank.parse({ weights: { M2: 0.3, M1: 0.7, M0: 1 }, rerank: { mode } });
  const spec = { ...context.spec, settings, inputs: await inputsIn(store, roles) };
  const done = await runRerank({ ...context, spec });
  expect(done).toMatchObject({
    outcome: 'succeeded',
    files: [{ name: 'neighbours.parquet' }],
    details: {
      ...{ queries: 20, topK: 100, models: { M0: 1, M1: 0.7, M2: 0.3 }, rerank: { mode, alpha: 1 } },
      references: mode === 'off' ? null : { rows: 600, withoutCountry: 0, labelsWithoutFeatures: 0 },
    },
  });
  await reporter.end();
  expect(plane.items('progress').at(-1)).toMatchObject({ done: 300, total: 300, message: 'searching: 300 of 300' });

  const local = join(folder, 'made.parquet');
  await store.download(`${spec.stagingPrefix}neighbours.parquet`, local, {});
  const parquet = await openParquet();
  const made = await readNeighbours(parquet, local).finally(() => parquet.close());
  expect(made).toEqual(await searched(mode, settings.weights, join(folder, 'searched')));
});

/** Pictures of the queries and index images, of which every seventh is the same, and the lists that name them. */
async function makePictures(folder: string): Promise<Record<string, Buffer>> {
  const parquet = await openParquet();
  const lists: Record<string, Buffer> = {};
  try {
    for (const [list, split] of [
      ['query', 'test'],
      ['index', 'index'],
    ] as const) {
      const { ids } = await readFeatures(join(given, 'sets/M0', list), parquet);
      mkdirSync(join(folder, 'images', split), { recursive: true });
      for (const [at, id] of [...ids].entries()) writeFileSync(join(folder, 'images', split, `${id}.png`), pngOf(at % 7, 64));
      const path = join(folder, `${list}.parquet`);
      const rows = [...ids].map((id) => [id, `${split}/${id}.png`]);
      await parquet.write({ path, columns: { image_id: 'text', path: 'text' }, rows });
      lists[`lists/${list}.parquet`] = readFileSync(path);
    }
    return lists;
  } finally {
    await parquet.close();
  }
}

const trainerTests = fileURLToPath(new URL('../../../docker/trainer/tests', import.meta.url));

/** A matcher that finds the same thirty points in any two images, in a file; its images have `channels`. */
async function makeMatcher(folder: string, channels: number): Promise<Buffer> {
  const paths = `import sys; from pathlib import Path; sys.path[:0] = ${JSON.stringify([trainerTests, dirname(trainerTests)])}`;
  const program = `from test_local_matching import onnx_matcher; onnx_matcher(Path(sys.argv[1]), channels=${channels})`;
  const path = join(folder, `${channels}.onnx`);
  await promisify(execFile)(trainerPython(), ['-I', '-c', `${paths}\n${program}`, path]);
  return readFileSync(path);
}

test('an imported matcher matches in place of SIFT, and one of another form is refused by its name', async () => {
  const { context, store, folder } = await openAttempt(specOf('rerank'), { python: trainerPython() });
  const lists = await stored(store, 'lists', 'lists/art_1/', await makePictures(folder));
  const settings = stepSettings.rerank.parse({ weights: { M0: 1 }, rerank: { localMatching: { images: 2, longSide: 96, weight: 0.9 } } });
  const source = { ...context.spec.source, root: join(folder, 'images') };
  const sets = { ...(await inputsIn(store, ['query', 'index'])), lists };
  const rerankWith = async (channels: number) => {
    const bytes = await makeMatcher(folder, channels);
    const matcher = await stored(store, 'matcher', `matchers/art_${channels}/`, { 'matcher.onnx': bytes });
    const details = { imported: 'grid', backbone: 'lightglue-end2end', source: null, licence: null };
    const inputs = { ...sets, matcher: { ...matcher, details } };
    return { bytes, done: runRerank({ ...context, spec: { ...context.spec, settings, inputs, source } }) };
  };
  const { bytes, done } = await rerankWith(1);
  expect(await done).toMatchObject({
    outcome: 'succeeded',
    details: { localMatching: { matcher: { kind: 'onnx', sha256: sha256(bytes) }, pairs: 40, unreadableImages: 0 } },
  });
  const local = join(folder, 'made.parquet');
  await store.download(`${context.spec.stagingPrefix}neighbours.parquet`, local, {});
  const parquet = await openParquet();
  const { neighbours } = await readNeighbours(parquet, local).finally(() => parquet.close());
  const before = (await searched('off', { M0: 1 }, join(folder, 'before'))).neighbours;
  // Thirty inliers of at most ninety, with each of the first two.
  for (const [query, { scores }] of neighbours)
    expect(scores.slice(0, 3)).toEqual(
      before
        .get(query)
        ?.scores.slice(0, 3)
        .map((score, rank) => (rank < 2 ? score + (0.9 * 30) / 90 : score)),
    );
  await expect((await rerankWith(3)).done).rejects.toMatchObject({
    code: 'unreadable_file',
    message: expect.stringMatching(/^grid \(.*matcher\.onnx\) is not a matcher of the accepted form: it has image0 as/),
  });
});

test('a rerank with local matching reads the images of the lists, and reorders as `cairn search` does', async () => {
  const { context, store, folder, plane, reporter } = await openAttempt(specOf('rerank'), { python: trainerPython() });
  const lists = await stored(store, 'lists', 'lists/art_1/', await makePictures(folder));
  const weights = { M0: 1, M1: 0.7, M2: 0.3 };
  const settings = stepSettings.rerank.parse({ weights, rerank: { localMatching: { images: 2, longSide: 96 } } });
  const root = join(folder, 'images');
  const before = await searched('off', weights, join(folder, 'before'));
  const found = [...before.neighbours.values()][0]?.imageIds ?? [];
  writeFileSync(join(root, 'index', `${found[0]}.png`), 'not a picture');
  const spec = { ...context.spec, settings, inputs: { ...(await inputsIn(store, ['query', 'index'])), lists } };
  const done = await runRerank({ ...context, spec: { ...spec, source: { ...spec.source, root } } });
  expect(done).toMatchObject({
    outcome: 'succeeded',
    details: { localMatching: { matcher: { kind: 'sift' }, pairs: 40, cachedPairs: 0, unreadableImages: 1 } },
  });
  await reporter.end();
  expect(plane.items('progress').at(-1)).toMatchObject({ message: 'matching images: 20 of 20' });
  const reason = `Local matching: 1 image cannot be read and has no inliers: index/${found[0]}.png (not an image of a known format)`;
  expect(plane.items('note')).toMatchObject([{ level: 'warning', message: reason }]);

  const local = join(folder, 'made.parquet');
  await store.download(`${spec.stagingPrefix}neighbours.parquet`, local, {});
  const parquet = await openParquet();
  const made = await readNeighbours(parquet, local).finally(() => parquet.close());
  const imagesIn = (split: string) => ({
    root: join(root, split),
    placesOf: async (ids: ReadonlySet<string>) => new Map([...ids].map((id) => [id, placeAt(`${id}.png`)])),
  });
  const { localMatching } = settings.rerank;
  if (localMatching === null) throw new Error('it is on');
  const matching = { settings: localMatching, matcherPath: null, cache: null, python: trainerPython(), env: context.env };
  const sides = { queries: imagesIn('test'), index: imagesIn('index') };
  expect(made).toEqual(await searched('off', weights, join(folder, 'searched'), { ...matching, ...sides }));
  expect(made.neighbours).not.toEqual(before.neighbours);
});

/** The tags of the first model's index, as a fleet of one worker makes them in three shards. */
async function tagged(): Promise<Record<string, Buffer>> {
  const { context, store, plane } = await openAttempt(specOf('tag'));
  const all = await inputsIn(store, ['query', 'index', 'references']);
  const [index, references, lists] = ['index.M0', 'references.M0', 'lists'].map((role) => all[role]);
  if (index === undefined || references === undefined || lists === undefined) throw new Error('an input is missing');
  const inputs = { index: { ...index, details: { list: 'index', rows: 300, rejected: 0, shards: 1 } }, references, lists };
  plane.state.shards = [0, 1, 2].map((shard) => ({ index: shard, from: shard * 100, count: 100, holder: null, tries: 0, commit: null }));
  expect(await runTag({ ...context, spec: { ...context.spec, inputs } })).toEqual({ outcome: 'succeeded', files: [], details: {} });
  const commits = plane.state.shards.map(({ commit }) => commit);
  expect(commits.map((commit) => [commit?.rows, commit?.rejected])).toEqual([0, 1, 2].map(() => [100, 0]));
  const files = commits.flatMap((commit) => commit?.files ?? []);
  return Object.fromEntries(await Promise.all(files.map(async ({ name, key }) => [name, Buffer.from(await store.getBytes(key))])));
}

/** The votes of the first model's queries, likewise. */
async function voted(): Promise<Record<string, Buffer>> {
  const { context, store, plane } = await openAttempt(specOf('vote'));
  const all = await inputsIn(store, ['query', 'references']);
  const [query, references, lists] = ['query.M0', 'references.M0', 'lists'].map((role) => all[role]);
  if (query === undefined || references === undefined || lists === undefined) throw new Error('an input is missing');
  const inputs = { query: { ...query, details: { list: 'query', rows: 20, rejected: 0, shards: 1 } }, references, lists };
  plane.state.shards = [0, 1, 2].map((shard) => ({
    index: shard,
    from: shard * 7,
    count: shard === 2 ? 6 : 7,
    holder: null,
    tries: 0,
    commit: null,
  }));
  expect(await runVote({ ...context, spec: { ...context.spec, inputs } })).toEqual({ outcome: 'succeeded', files: [], details: {} });
  const files = plane.state.shards.flatMap(({ commit }) => commit?.files ?? []);
  return Object.fromEntries(await Promise.all(files.map(async ({ name, key }) => [name, Buffer.from(await store.getBytes(key))])));
}

test('with the tags and votes of fleets a rerank finds the same to the bit, and reads no vector of a reference', async () => {
  const [tagFiles, voteFiles] = [await tagged(), await voted()];
  expect(Object.keys(tagFiles)).toEqual(['tags/tags_00000.parquet', 'tags/tags_00001.parquet', 'tags/tags_00002.parquet']);
  expect(Object.keys(voteFiles)).toEqual(['votes/votes_00000.parquet', 'votes/votes_00001.parquet', 'votes/votes_00002.parquet']);
  const settings = stepSettings.rerank.parse({ weights: { M0: 1, M1: 1, M2: 0.5 }, rerank: { mode: 'before_merge' } });
  const { context, store, folder, reporter } = await openAttempt(specOf('rerank'));
  const inputs = await inputsIn(store, ['query', 'index', 'references']);
  const [tags, votes] = [await stored(store, 'tags', 'tags/art_2/', tagFiles), await stored(store, 'votes', 'votes/art_3/', voteFiles)];
  // M2 has the features of M0, but M0 no vectors of its references.
  for (const role of ['query', 'index', 'references'] as const) Object.assign(inputs, { [`${role}.M2`]: inputs[`${role}.M0`] });
  const { 'references.M0': references } = inputs;
  if (references === undefined) throw new Error('there are no references');
  for (const { name } of references.files)
    if (!name.endsWith('.npy')) await store.put(`features/ids/${name}`, await store.getBytes(`${references.prefix}${name}`));
  inputs['references.M0'] = { ...references, id: newId('artifact'), prefix: 'features/ids/' };
  Object.assign(inputs, { 'tags.M0': tags, 'votes.M0': votes, 'tags.M2': tags });
  const spec = { ...context.spec, settings, inputs };
  // All of its progress: the control plane gets only the newest from time to time.
  const messages = new Set<string | undefined>();
  const progress: typeof reporter.progress = ({ message }) => void messages.add(message?.split(': ').slice(0, -1).join(': '));
  await runRerank({ ...context, reporter: { ...reporter, progress }, spec });
  const compared = [...messages].filter((message) => message?.match(/landmarks of the index|references of the queries/));
  expect(compared).toEqual(['M1: references of the queries', 'M1: landmarks of the index', 'M2: references of the queries']);
  const local = join(folder, 'made.parquet');
  await store.download(`${spec.stagingPrefix}neighbours.parquet`, local, {});
  const parquet = await openParquet();
  const made = await readNeighbours(parquet, local).finally(() => parquet.close());
  expect(made).toEqual(await searched('before_merge', settings.weights, join(folder, 'searched')));
});

test('features whose details name different models are refused before they are fetched', async () => {
  const { context } = await openAttempt(specOf('rerank'));
  const inputs = Object.fromEntries(
    models.flatMap(([model]) =>
      ['query', 'index'].map((role) => {
        const madeBy = model === 'M1' && role === 'index' ? 'bbb' : 'aaa';
        return [`${role}.${model}`, artifactOf('features', 'features/nowhere/', {}, { model: madeBy })];
      }),
    ),
  );
  await expect(runRerank({ ...context, spec: { ...context.spec, inputs } })).rejects.toMatchObject({
    code: 'model_mismatch',
    message: 'The features of M1 have different origins: query.M1 with the model aaa, index.M1 with bbb.',
  });
});

test('a rerank that is stopped ends at once', async () => {
  const { context, store, stop } = await openAttempt(specOf('rerank'));
  const inputs = await inputsIn(store, ['query', 'index']);
  stop.ask({ cause: 'cancelled', reason: 'cancelled', graceSeconds: 10 });
  await expect(runRerank({ ...context, spec: { ...context.spec, inputs } })).rejects.toThrow(/asked to stop: cancelled/);
});
