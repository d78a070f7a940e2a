import { execFile } from 'node:child_process';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createClient } from '@cairn/client';
import type { RunView } from '@cairn/contract';
import { makeMiniDataset, tinyCounts } from '@cairn/mini-dataset';
import { makeRunFolder, removeRunFolder, trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Service } from '../service/start-service.ts';
import { startTestService } from '../testing/start-test-service.ts';
import { runTestCli } from '../testing/test-cli.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

/** Writes resnet18's weights in torchvision's layout, as a publisher does, and files that are each wrong in one way. */
const writeFiles = `
import sys, torch
from torchvision.models import resnet18, resnet34
torch.manual_seed(1)
folder = sys.argv[1]
state = resnet18().state_dict()
torch.save(state, f'{folder}/resnet18-made.pth')
torch.save(state, f'{folder}/cut.pth')
torch.save(resnet34().state_dict(), f'{folder}/resnet34.pth')
torch.save({**state, 'conv1.weight': torch.zeros(64, 1, 7, 7)}, f'{folder}/grey.pth')
`;

/** Writes a run's export as the reference's training saves it: under DistributedDataParallel, with the classifier of ImageNet. */
const asTheReference = `
import sys, torch
state = {f'module.{key}': value for key, value in torch.load(sys.argv[1], weights_only=True).items()}
torch.save({'state_dict': {**state, 'module.base.fc.weight': torch.zeros(1000, 512)}, 'epoch': 6}, sys.argv[2])
`;

/** One stage of a few steps: only where it starts matters. */
const recipe = `
name: short
dataset: mini
model: {backbone: resnet18, embeddingDim: 32}
prepare: {lists: [clean, query, index]}
stages:
  first: {from: init, weights: resnet18-made, list: clean, imageSize: 32, epochs: 1, learningRate: 0.01, batch: 8, ranks: 2, threadsPerRank: 1}
export: {stage: first, imageSize: 32, checkImages: 4}
extract:
  index: {list: index, shards: 2, maxBadImageShare: 0.2}
  query: {list: query, shards: 1}
register: {model: own}
`;

const python = trainerPython();
const env = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', CAIRN_PYTHON: python };
let home: string;
let service: Service;
const path = (name: string): string => join(home, name);
const cairn = (...args: string[]) => runTestCli(args, { env: { ...env, CAIRN_HOME: home } });
const client = () => createClient({ url: service.url, token: service.token });

beforeAll(async () => {
  home = await makeRunFolder();
  const { signal } = new AbortController();
  await makeMiniDataset({ out: path('mini'), seed: 0, counts: tinyCounts });
  await promisify(execFile)(python, ['-I', '-c', writeFiles, home]);
  await truncate(path('cut.pth'), 20_000_000);
  await writeFile(path('short.yaml'), recipe);
  service = await startTestService({ home, python, env, datasetRoots: [home], signal });
  const source = { kind: 'folder' as const, root: path('mini/images'), metadata: path('mini/metadata'), countries: path('mini/countries') };
  await client().addDataset({ name: 'mini', source });
});
afterAll(async () => {
  await service.close();
  await removeRunFolder(home);
});

test('a file that is cut off, of another backbone or of another shape is refused with each difference, and nothing is kept', async () => {
  const refusal = async (name: string) => {
    const { code, err } = await cairn('--json', 'import', 'weights', path(name), '--backbone', 'resnet18');
    expect(code).toBe(2);
    return JSON.parse(err);
  };
  expect(await refusal('cut.pth')).toMatchObject({ code: 'unreadable_file' });
  const other = await refusal('resnet34.pth');
  expect(other).toMatchObject({ code: 'model_mismatch' });
  expect(other.details.mismatches).toContain('layer3.5.conv1.weight is unknown');
  expect((await refusal('grey.pth')).details.mismatches).toEqual(['conv1.weight has the shape 64x1x7x7, the network needs 64x3x7x7']);
  expect((await cairn('import', 'weights', path('resnet34.pth'), '--backbone', 'resnet43')).err).toContain('Did you mean');
  expect((await client().listWeights()).items).toEqual([]);
});

test('a recipe starts from imported weights, and a model imported from its export scores the same', async () => {
  const short = ['-f', path('short.yaml')];
  const absent = await cairn('submit', ...short);
  expect(absent.err).toContain('hint: Import them: `cairn import weights resnet18-made.pth --backbone resnet18`.');
  expect((await cairn('plan', ...short)).out).toContain('needs resnet18-made');

  const origin = ['--source', 'https://example.org/resnet18.pth', '--licence', 'BSD-3-Clause'];
  const bring = () => cairn('import', 'weights', path('resnet18-made.pth'), '--backbone', 'resnet18', ...origin);
  expect(await bring()).toMatchObject({
    err: expect.stringContaining('weights: resnet18-made'),
    code: 0,
    out: expect.stringMatching(/^resnet18-made imported: 1\d\d tensors of resnet18, 4\d\.\d MB/),
  });
  expect(await bring()).toMatchObject({ code: 0, out: expect.stringMatching(/^resnet18-made already there/) });
  expect((await cairn('weights')).out).toMatch(/resnet18-made +backbone +resnet18 +\S+ MB +BSD-3-Clause/);
  const [{ sha256 = '' } = {}] = (await client().listWeights()).items;
  expect((await cairn('plan', ...short)).out).toContain(`from resnet18-made, sha256 ${sha256.slice(0, 16)}`);

  const trained = await cairn('submit', ...short, '--name', 'from-weights', '--wait');
  expect(trained.code, trained.out + trained.err).toBe(0);
  const run = await runNamed('from-weights');
  const [attempt] = (await client().listAttempts(run.id, 'first')).items;
  const log = await client().readLog(attempt?.id ?? '', { limit: 1024 * 1024 });
  expect(log.text).toContain('weights.pth sets 120 tensors of the backbone');

  const made = await client().getArtifact(run.stepViews.find((step) => step.name === 'export')?.artifact?.id ?? '');
  const file = path('theirs.pth');
  await promisify(execFile)(python, ['-I', '-c', asTheReference, join(made.location, 'weights.pt'), file]);
  const model = [file, '--backbone', 'resnet18', '--dataset', 'mini', '--image-size', '32', '--name', 'theirs', '--preprocessing', 'cairn'];
  const few = ['--set', 'extract.index.maxBadImageShare=0.2', '--set', 'extract.index.shards=2', '--set', 'extract.query.shards=1'];
  const imported = await cairn('import', 'model', ...model, ...few, '--wait');
  expect(imported.code, imported.out + imported.err).toBe(0);
  const metrics = async (name: string) => (await client().listModelVersions(name)).items[0]?.metrics ?? {};
  const { mapAt100, indexImages } = await metrics('own');
  expect(await metrics('theirs')).toMatchObject({ mapAt100, indexImages });
  expect((await cairn('models')).out).toMatch(/^theirs +1 +\d+\.\d % \(95 %: \d+\.\d to \d+\.\d\)/m);
  const compared = await cairn('compare', 'own@1', 'theirs@1', '--json');
  expect(compared.err).toBe('');
  expect(JSON.parse(compared.out)).toMatchObject({
    ...{ a: { name: 'own@1', hasQueries: true }, b: { name: 'theirs@1' } },
    comparison: { all: { a: mapAt100, difference: 0, p: 1 }, better: 0, worse: 0, isGalleryKnown: true },
  });
  expect(await readFile(join(await locationOf('theirs'), 'card.md'), 'utf8')).toContain('# theirs');

  const goesOn = await cairn('submit', ...short, '--set', 'stages.first.weights=theirs', '--name', 'goes-on', '--wait');
  expect(goesOn.code, goesOn.out + goesOn.err).toBe(0);
  expect(await readFile(join(await locationOf('own'), 'card.md'), 'utf8')).toContain('Training started from the weights `theirs`');

  // A stored evaluation as a folder beside one of the service, which is read page by page.
  const evaluation = run.stepViews.find((step) => step.name === 'evaluate')?.artifact?.id ?? '';
  const stored = (await client().getArtifact(evaluation)).location;
  const mixed = await cairn('compare', stored, 'goes-on');
  expect(mixed.err).toBe('');
  expect(mixed.out).toContain(`a: ${join(stored, 'per_query.parquet')}\nb: goes-on/evaluate\n`);
  expect(mixed.out).toMatch(/all +\d+ +\d+\.\d\d % +\d+\.\d\d % +[+-]\d+\.\d\d +[+-]\d+\.\d\d to [+-]\d+\.\d\d +(?:< )?\d\.\d{4}/);
  expect(mixed.out).not.toContain('does not record its gallery');
  expect(await cairn('compare', 'nowhere', 'goes-on')).toMatchObject({ code: 2, err: expect.stringContaining('No run "nowhere"') });
  expect(await cairn('compare', 'none/here', 'goes-on')).toMatchObject({
    code: 2,
    err: expect.stringMatching(/There is no file .*none\/here\/per_query\.parquet either\./),
  });
});

async function runNamed(name: string): Promise<RunView> {
  const { items } = await client().listRuns({ name });
  return client().getRun(items[0]?.id ?? '');
}

/** The location of the registration of a model's newest version. */
async function locationOf(model: string): Promise<string> {
  const runId = (await client().listModelVersions(model)).items[0]?.runId ?? '';
  const { stepViews } = await client().getRun(runId);
  return (await client().getArtifact(stepViews.find((step) => step.kind === 'register')?.artifact?.id ?? '')).location;
}
