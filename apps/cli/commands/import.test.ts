import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type StubApi, sendProblem, startStubApi } from '@cairn/client/testing';
import { readList } from '@cairn/dataset';
import { makeMiniDataset } from '@cairn/mini-dataset';
import { fewImages } from '@cairn/mini-dataset/testing';
import { openParquet, readFeatures } from '@cairn/retrieval';
import { newId, sha256File } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

// The command with a service, from a real file to a run, is tested in imports.slow.test.ts.
let folder: string;
let api: StubApi;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-import-'));
  api = await startStubApi();
  api.on('GET', '/v1/weights/[^/]+', (_, response) => sendProblem(response, 'not_found', 'There are no such weights'));
});
afterAll(async () => {
  await api.close();
  await rm(folder, { recursive: true });
});

const path = (name: string): string => join(folder, name);
const cairn = (...args: string[]) =>
  runTestCli(['import', 'weights', ...args, '--backbone', 'resnet18'], { url: api.url, env: { CAIRN_PYTHON: trainerPython() } });

test('problems of the file alone are reported before anything is requested or read', async () => {
  expect(await cairn(path('none.pth'))).toMatchObject({ code: 2, err: expect.stringContaining(`No file ${path('none.pth')}`) });
  await writeFile(path('large.pth'), '');
  await truncate(path('large.pth'), 9 * 1024 ** 3);
  expect(await cairn(path('large.pth'))).toMatchObject({
    code: 2,
    err: expect.stringMatching(/has 9\.\d+ GB; at most 8\.\d+ GB are accepted/),
  });
  await writeFile(path('a name.pth'), 'x');
  expect(await cairn(path('a name.pth'))).toMatchObject({ code: 2, err: expect.stringContaining('hint: Set one with --name.') });
  expect(api.requests).toEqual([]);
});

test.each([[['--dataset', 'gldv2']], [['--image-size', '64']], [['--wait']], [['--set', 'extract.index.shards=2']]])(
  'options of the run that evaluates a model are refused without its dataset and size: %j',
  async (options) => {
    const { code, err } = await runTestCli(['import', 'model', path('a.pth'), '--backbone', 'resnet18', ...options], { url: api.url });
    expect(code).toBe(2);
    expect(err).toContain('--dataset and --image-size belong together');
    expect(err).toContain('hint: Use both to evaluate the model, or neither to only import it.');
    expect(api.requests).toEqual([]);
  },
);

test('a pickle that would run code is refused with the name of what it calls; nothing runs, and nothing is sent', async () => {
  const harmed = path('harmed');
  // Protocol 0: the global os.system, called with one text.
  await writeFile(path('evil.pth'), `cos\nsystem\n(S'touch ${harmed}'\ntR.`);
  const { code, err } = await cairn(path('evil.pth'));
  expect(err).toMatch(/^error: .*evil\.pth would call os\.system when it is loaded.*\nhint: Download the file from its publisher again/);
  expect(code).toBe(2);
  await expect(rm(harmed)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(api.requests.map(({ method }) => method)).toEqual(['GET']);
});

test('a matcher is checked, and sent with what was said of it and no backbone', async () => {
  const tests = fileURLToPath(new URL('../../../docker/trainer/tests', import.meta.url));
  const make = `import sys; from pathlib import Path; sys.path[:0] = ${JSON.stringify([tests, dirname(tests)])}
from test_local_matching import onnx_matcher; onnx_matcher(Path(sys.argv[1])); onnx_matcher(Path(sys.argv[2]), channels=3)`;
  await promisify(execFile)(trainerPython(), ['-I', '-c', make, path('points.onnx'), path('rgb.onnx')]);
  const digest = await sha256File(path('points.onnx'));
  const view = {
    ...{ id: newId('weights'), name: 'points', content: 'matcher', backbone: 'lightglue-end2end', extent: 'all', sha256: digest, bytes: 9 },
    ...{ source: null, licence: 'research', embeddingDim: null, classes: null, owner: 'ada', artifactId: newId('artifact') },
    createdAt: '2026-11-30T12:00:00.000Z',
  };
  api.on('PUT', '/v1/weights/points', () => view);
  const before = api.requests.length;
  const importing = (file: string) =>
    runTestCli(['import', 'matcher', path(file), '--licence', 'research'], { url: api.url, env: { CAIRN_PYTHON: trainerPython() } });
  const { code, out, err } = await importing('points.onnx');
  expect([code, err]).toEqual([0, expect.stringContaining('--set ensemble.matcher=points')]);
  expect(out).toContain('points imported: a matcher');
  const [, sent] = api.requests.slice(before);
  expect(Object.fromEntries(sent?.query ?? [])).toEqual({ content: 'matcher', extent: 'all', sha256: digest, licence: 'research' });
  expect(await importing('rgb.onnx')).toMatchObject({ code: 2, err: expect.stringContaining('is not a matcher of the accepted form') });
});

test('a Python without the packages is reported as such', async () => {
  await writeFile(path('a.pth'), 'x');
  const run = (python: string) =>
    runTestCli(['import', 'weights', path('a.pth'), '--backbone', 'resnet18'], { url: api.url, env: { CAIRN_PYTHON: python } });
  expect((await run('/nowhere/python')).err).toContain('The interpreter /nowhere/python cannot be started');
  expect((await run('/bin/false')).err).toContain('hint: Set CAIRN_PYTHON to an interpreter that has the packages');
});

const run = promisify(execFile);
const asThere = (...args: string[]) => runTestCli(['import', ...args], { env: { CAIRN_PYTHON: trainerPython() } });

/** Writes a list in the reference's format: tuples of an absolute path, label, 0 or 1, and the continent, which only `all` has. */
const pickleLists = `
import csv, pickle, sys
folder, out = sys.argv[1:]
for ours, theirs in (('clean', 'clean'), ('c2x', 'c2f'), ('all', 'all')):
    rows = [('/data/gld/' + path, int(label), int(noisy), continent if ours == 'all' else -1)
            for path, label, noisy, continent in csv.reader(open(f'{folder}/lists/{ours}.csv'))]
    pickle.dump(rows, open(f'{out}/cache_{theirs}_list.pkl', 'wb'), pickle.HIGHEST_PROTOCOL)
`;

test("the reference's lists become the same lists as made here, except for the countries, which they do not have", async () => {
  await makeMiniDataset({ out: path('mini'), seed: 3, counts: fewImages() });
  const made = ['--metadata', path('mini/metadata'), '--countries', path('mini/countries'), '--out', path('made'), '--text'];
  expect((await runTestCli(['lists', ...made])).err).toBe('');
  await run(trainerPython(), ['-I', '-c', pickleLists, path('made'), folder]);
  const { code, out, err } = await asThere('lists', folder, '--out', path('imported'));
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^list +rows +labels +noisy +without label +size\nclean +6 +3 +0 +0 /);
  for (const name of ['clean', 'c2x', 'all']) {
    const rows = async (from: string) => (await Array.fromAsync(readList(path(`${from}/lists/${name}.parquet`)))).flat();
    const expected = (await rows('made')).map((row) => ({ ...row, country: null, ...(name === 'all' ? {} : { continent: null }) }));
    expect(await rows('imported'), name).toEqual(expected);
  }
  expect((await asThere('lists', path('evil.pth'), '--list', 'full', '--out', path('no'))).err).toContain('requests os.system');
});

test("the reference's features become a feature set, in the format of the search", async () => {
  const pickleFeatures = `
import pickle, sys, numpy as np
features = {'index_name_list': np.array(['abc1', 'abc2', 'abc3']), 'index_feats': np.array([[3, 4], [0, 0], [0, -2]], np.float16)}
pickle.dump(features, open(sys.argv[1], 'wb'), pickle.HIGHEST_PROTOCOL)
`;
  await run(trainerPython(), ['-I', '-c', pickleFeatures, path('index_feats_R50.pkl')]);
  const { code, out } = await asThere('features', path('index_feats_R50.pkl'), '--out', path('features'));
  expect([code, out]).toEqual([0, `2 vectors of length 2; left out: 1 vector without a direction  ${path('features')}\n`]);
  const parquet = await openParquet();
  const features = await readFeatures(path('features'), parquet);
  expect([features.dim, ...features.ids]).toEqual([2, 'abc1', 'abc3']);
  expect([...(await features.read(0, 2))].map((value) => Math.round(value * 1000) / 1000)).toEqual([0.6, 0.8, 0, -1]);
  await parquet.close();
  const before = await readdir(path('features'));
  expect((await asThere('features', path('index_feats_R50.pkl'), '--out', path('features'))).code).toBe(2);
  expect(await readdir(path('features'))).toEqual(before);
});
