import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AttemptSpec,
  type AttemptSpecOf,
  type FinishRequest,
  type ImageSource,
  type InputArtifact,
  listsDetails,
  stepSettings,
} from '@cairn/contract';
import { inspectDataset } from '@cairn/dataset';
import { makeMiniDataset } from '@cairn/mini-dataset';
import { fewImages } from '@cairn/mini-dataset/testing';
import { newId, processesByAttempt } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { expect, test, vi } from 'vitest';
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
const model = { backbone: 'resnet18', embeddingDim: 8 };
const stage = { from: 'init', list: 'clean', imageSize: 32, learningRate: 0.01, batch: 3, ranks: 2, threadsPerRank: 1, model };

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
  return { ...attempt, next, lists };
}

test('real images become lists, a trained network, a model, features, neighbours and a score', async () => {
  const { plane, reporter, next, lists } = await openPipeline();
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
    settings: stepSettings.export.parse({ imageSize: 32, model, checkImages: 4, precision: 'fp16' }),
  });
  const exported = resultOf(await runExport(exporting), 'model', exporting.spec);
  expect(exported.details).toMatchObject({ imageSize: 32, preprocessing: 'cairn', precision: 'fp16', embeddingDim: 8 });

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
