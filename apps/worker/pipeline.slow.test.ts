import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  type AttemptSpec,
  type AttemptSpecOf,
  type FinishRequest,
  type ImageSource,
  type InputArtifact,
  listsDetails,
  modelDetails,
  stepSettings,
} from '@cairn/contract';
import { inspectDataset } from '@cairn/dataset';
import { makeMiniDataset } from '@cairn/mini-dataset';
import { fewImages } from '@cairn/mini-dataset/testing';
import { openParquet, readFeatures } from '@cairn/retrieval';
import { newId, processesByAttempt } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { runExtract } from './extract/run-extract.ts';
import { runEvaluate } from './steps/run-evaluate.ts';
import { runPrepare } from './steps/run-prepare.ts';
import { runSearch } from './steps/run-search.ts';
import { openAttempt } from './testing/open-attempt.ts';
import { artifactOf, specOf } from './testing/specs.ts';
import { runExport } from './train/run-export.ts';
import { runTrain } from './train/run-train.ts';

vi.setConfig({ testTimeout: 240_000 });

const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 120_000, interval: 20 });
const network = { backbone: 'resnet18', embeddingDim: 8 };
const stage = { from: 'init', list: 'clean', imageSize: 32, learningRate: 0.01, batch: 3, ranks: 2, threadsPerRank: 1, model: network };

/** A collection of 12 training, 8 index and a few query images of three landmarks, made in `folder`. */
async function miniSource(folder: string): Promise<ImageSource> {
  const none = { fullOnlyLandmarks: 0, indexOnlyLandmarks: 0, extraImages: [0, 0], fullOnlyImages: [0, 0] } as const;
  const counts = fewImages({ ...none, cleanImages: [4, 4], strays: 2, scoredQueries: 3 });
  const { layout } = await makeMiniDataset({ out: folder, seed: 1, counts });
  return {
    kind: 'folder',
    root: join(folder, layout.images),
    metadata: join(folder, layout.metadata),
    countries: join(folder, layout.countries),
  };
}

/** The artifact of an attempt's result, for the next steps; its files stay where the attempt stored them. */
function resultOf(outcome: FinishRequest, kind: InputArtifact['kind'], { stagingPrefix }: AttemptSpec): InputArtifact {
  if (outcome.outcome !== 'succeeded') throw new Error(JSON.stringify(outcome));
  const files = outcome.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }));
  return { ...artifactOf(kind, stagingPrefix, {}, outcome.details), files };
}

/** Attempts on one small collection, one after another, that share a control plane; the lists are prepared. */
async function openPipeline() {
  const attempt = await openAttempt(specOf('prepare'), { python: trainerPython() });
  const { context, folder } = attempt;
  const source = await miniSource(join(folder, 'dataset'));

  function next<K extends AttemptSpec['kind']>(kind: K, name: string, overrides: Partial<AttemptSpecOf<K>>) {
    const workDir = join(folder, name);
    mkdirSync(workDir);
    const spec = { ...specOf(kind, overrides), source, attempt: context.spec.attempt, stagingPrefix: `staging/${name}/` };
    return { ...context, spec, workDir };
  }

  const settings = stepSettings.prepare.parse({ lists: ['clean', 'index', 'query'] });
  const { files: registered } = await inspectDataset(source, { roots: null });
  const prepare = next('prepare', 'prepare', { settings, registered });
  const lists = resultOf(await runPrepare(prepare), 'lists', prepare.spec);
  return { ...attempt, next, lists, source };
}
type Pipeline = Awaited<ReturnType<typeof openPipeline>>;
type Sets = Record<'query' | 'index', InputArtifact>;

/** The feature set of a list, and the same by PyTorch in fp32 from the same files, decoded by the trainer: vectors by image. */
async function comparedFeatures({ store, folder, source }: Pipeline, model: InputArtifact, lists: InputArtifact, sets: Sets) {
  const local = (name: string) => join(folder, 'compared', name);
  const paths: string[] = [];
  for (const list of Object.keys(sets)) {
    const name = `lists/${list}.parquet`;
    paths.push(await store.download(`${lists.prefix}${name}`, local(name), {}).then(() => local(name)));
  }
  await store.download(`${model.prefix}weights.pt`, local('weights.pt'), {});
  const { imageSize, preprocessing } = modelDetails.parse(model.details);
  const program = fileURLToPath(new URL('testing/pytorch_features.py', import.meta.url));
  const trainer = fileURLToPath(new URL('../../docker/trainer', import.meta.url));
  const settings = [trainer, JSON.stringify(network), local('weights.pt'), String(imageSize), preprocessing, source.root];
  const { stdout } = await promisify(execFile)(trainerPython(), ['-I', program, ...settings, ...paths], { maxBuffer: 2 ** 28 });
  const expected = z.array(z.record(z.string(), z.array(z.number()))).parse(JSON.parse(stdout));
  const parquet = await openParquet();
  const compared = await Promise.all(
    Object.values(sets).map(async (set, at) => {
      const dir = local(`set-${at}`);
      for (const { name } of set.files) await store.download(`${set.prefix}${name}`, join(dir, name), {});
      const features = await readFeatures(dir, parquet);
      const values = await features.read(0, features.ids.length);
      const found = [...features.ids].map((id, row) => [id, [...values.subarray(row * features.dim, (row + 1) * features.dim)]] as const);
      return { found: new Map(found), expected: new Map(Object.entries(expected[at] ?? {})) };
    }),
  );
  await parquet.close();
  return compared;
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, at) => sum + value * (b[at] ?? Number.NaN), 0);
const cosine = (a: readonly number[], b: readonly number[]): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

test('real images become lists, a trained network, a model, features as by PyTorch, neighbours and a score', async () => {
  const pipeline = await openPipeline();
  const { plane, reporter, next, lists } = pipeline;
  const counts = listsDetails.parse(lists.details).lists;
  expect(counts).toMatchObject({ clean: { distinct: 12, classes: 3 }, index: { distinct: 8 } });
  expect(lists.files.map((file) => file.name)).toContain('lists/ground_truth.parquet');

  const settings = stepSettings.train.parse({
    ...stage,
    epochs: 1,
    learningRate: 0.001,
    evaluate: 'end',
    logEverySteps: 1,
    maxBadImageShare: 1,
  });
  const train = next('train', 'train', { inputs: { lists }, settings });
  const checkpoint = resultOf(await runTrain(train), 'checkpoint', train.spec);
  expect(checkpoint.details).toMatchObject({ step: 2, epoch: 1, classes: 3, mapAt100End: expect.any(Number) });

  const exporting = next('export', 'export', {
    inputs: { lists, checkpoint },
    settings: stepSettings.export.parse({ imageSize: 32, model: network, checkImages: 4 }),
  });
  const exported = resultOf(await runExport(exporting), 'model', exporting.spec);
  expect(exported.details).toMatchObject({ imageSize: 32, preprocessing: 'cairn', precision: 'fp32', embeddingDim: 8 });

  async function extract(list: 'query' | 'index'): Promise<InputArtifact> {
    const count = counts[list]?.distinct ?? 0;
    plane.state.shards = [{ index: 0, from: 0, count, holder: null, tries: 0, commit: null }];
    const settings = stepSettings.extract.parse({ list, batch: 4 });
    const extraction = next('extract', list, { inputs: { lists, model: exported }, settings });
    expect(await runExtract(extraction)).toMatchObject({ outcome: 'succeeded' });
    const commit = plane.state.shards[0]?.commit;
    expect((commit?.rows ?? 0) + (commit?.rejected ?? 0)).toBe(count);
    return { ...artifactOf('features', extraction.spec.stagingPrefix, {}), files: commit?.files ?? [] };
  }
  const query = await extract('query');
  const index = await extract('index');

  for (const { found, expected } of await comparedFeatures(pipeline, exported, lists, { query, index })) {
    expect([...found.keys()].toSorted()).toEqual([...expected.keys()].toSorted());
    const cosines = [...found].map(([id, vector]) => cosine(vector, expected.get(id) ?? [])).toSorted((a, b) => a - b);
    // Pixels of the other preprocessing have 0.999 here.
    expect(cosines[0]).toBeGreaterThan(0.99999);
  }

  const search = next('search', 'search', { inputs: { query, index } });
  const neighbours = resultOf(await runSearch(search), 'neighbours', search.spec);
  const evaluated = await runEvaluate(next('evaluate', 'evaluate', { inputs: { lists, neighbours, index } }));
  expect(evaluated).toMatchObject({ outcome: 'succeeded', details: { mapAt100: { kaggle: { all: expect.any(Number) } } } });
  await reporter.end();
  expect(plane.items('metrics').map((item) => item.name)).toEqual(expect.arrayContaining(['loss', 'images_per_second']));
});

test('a stage resumes from its newest checkpoint after a rank was killed, and saves one when it is stopped', async () => {
  const { plane, stop, next, lists } = await openPipeline();
  const settings = stepSettings.train.parse({ ...stage, epochs: 200, maxBadImageShare: 1 });
  const attemptId = plane.state.spec.attempt.id;

  const first = runTrain(next('train', 'first', { inputs: { lists }, settings }));
  await eventually(() => plane.items('checkpoint').length).toBeGreaterThan(0);
  process.kill(processesByAttempt().get(attemptId)?.at(-1)?.pid ?? 0, 'SIGKILL');
  expect(await first).toMatchObject({ outcome: 'failed', cause: 'infrastructure', code: 'program_failed' });
  expect(processesByAttempt().get(attemptId)).toBeUndefined();

  const checkpoints = plane.items('checkpoint');
  const resume = checkpoints
    .map(({ key, bytes, sha256, step, epoch }) => ({ id: newId('checkpoint'), key, bytes, sha256, step, epoch }))
    .toReversed();
  const newest = resume[0]?.step ?? 0;
  const second = runTrain(next('train', 'second', { inputs: { lists }, resume, settings }));
  await eventually(() => plane.items('note').map((item) => item.message)).toContainEqual(expect.stringContaining(`from step ${newest}`));
  stop.ask({ cause: 'interrupted', reason: 'the node is drained', graceSeconds: 100 });
  expect(await second).toMatchObject({ outcome: 'preempted', message: expect.stringMatching(/^saved and stopped at step \d+/) });
});
