import { appendFile, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeMiniDataset } from '@cairn/mini-dataset';
import { fewImages } from '@cairn/mini-dataset/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

let folder: string;
const path = (name: string): string => join(folder, name);
const cairn = (...args: string[]) => runTestCli(['lists', '--metadata', path('mini/metadata'), ...args]);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-lists-'));
  await makeMiniDataset({ out: path('mini'), seed: 3, counts: fewImages() });
});
afterAll(() => rm(folder, { recursive: true }));

test('lists makes the lists without a service, with their text on request', async () => {
  const { code, out, err } = await cairn('--countries', path('mini/countries'), '--out', path('made'), '--text');
  expect(err).toBe('');
  expect(code).toBe(0);
  expect(out).toMatch(/^list +rows +labels +noisy +without label +size\nclean +6 +3 +0 +0 /);
  const names = ['all', 'c2x', 'clean', 'full', 'index', 'index_train', 'query', 'test'];
  const files = names.flatMap((name) => [`${name}.csv`, `${name}.parquet`]);
  expect((await readdir(path('made/lists'))).toSorted()).toEqual([...files, 'ground_truth.parquet'].toSorted());
  const lines = (await readFile(path('made/lists/all.csv'), 'utf8')).trimEnd().split('\n');
  expect(lines[0]).toMatch(/^train\/(.)\/(.)\/(.)\/\1\2\3.*\.jpg,\d,[01],(Asia|Europe|Africa|North America|South America|Oceania|OTHER)$/);
  expect(lines.filter((line) => /^test\/.*,-1,0,null$/.test(line))).toHaveLength(1);
});

test('with --json it prints the manifest, which is also stored next to the lists', async () => {
  const { out } = await cairn('--out', path('json'), '--lists', 'full,index', '--json');
  expect(JSON.parse(out)).toEqual(JSON.parse(await readFile(path('json/manifest.json'), 'utf8')));
  expect(Object.keys(JSON.parse(out).lists)).toEqual(['full', 'index']);
});

test("a check writes nothing and fails on counts other than GLDv2's, unless they are not compared", async () => {
  const differing = await cairn('--check');
  expect(differing.code).toBe(2);
  expect(differing.out).toMatch(/c2x +\d+ +3 +3,223,078 +81,313 +differs/);
  const { code, out } = await cairn('--check', '--no-known-counts', '--countries', path('mini/countries'));
  expect(out).toContain('No problems found.');
  expect(out).not.toContain('GLDv2');
  expect(code).toBe(0);
});

test('a check lists duplicates and missing entries, and fails', async () => {
  const [id = ''] = (await readFile(path('mini/metadata/index.csv'), 'utf8')).split('\n').slice(1);
  await appendFile(path('mini/metadata/index.csv'), `${id}\n`);
  const { code, out } = await cairn('--check', '--no-known-counts', '--json');
  expect(code).toBe(2);
  expect(JSON.parse(out)).toMatchObject({
    isRight: false,
    issues: expect.arrayContaining([expect.objectContaining({ id: 'repeated_index_image_id', count: 1, examples: [id], isFault: true })]),
  });
  expect((await cairn('--out', path('refused'))).err).toContain('a unique value');
});

test('it says which lists need a file, and makes those that do not need a missing one', async () => {
  await rename(path('mini/metadata/index_image_to_landmark.csv'), path('aside.csv'));
  await rm(path('mini/metadata/index.csv'));
  const { code, err } = await cairn('--out', path('refused'));
  expect(code).toBe(2);
  expect(err).toContain('index_image_to_landmark.csv is neither in');
  expect(err).toContain('the lists index_train, test, all need it');
  const { err: note, code: done } = await cairn('--out', path('some'), '--lists', 'clean,full,query');
  expect([note, done]).toEqual(['', 0]);
  expect((await cairn('--out', path('refused'))).err).toContain('index.csv is missing: the list index is left out.');
});

test('wrong usage is reported', async () => {
  const nowhere = await runTestCli(['lists', '--metadata', path('nowhere'), '--check']);
  expect(nowhere).toMatchObject({ code: 2, err: expect.stringMatching(/^error: The metadata folder .*nowhere does not exist/) });
  expect((await cairn()).err).toContain('lists needs --out for its result, or --check');
  expect((await cairn('--out', path('x'), '--lists', 'clean,fulll')).err).toContain('"fulll" is not one of clean, c2x');
});
