import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { memberPath } from '@cairn/dataset';
import { makeMiniDataset } from '@cairn/mini-dataset';
import { fewImages } from '@cairn/mini-dataset/testing';
import { openParquet, readNeighbours } from '@cairn/retrieval';
import { sha256File } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { runTestCli } from '../testing/test-cli.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const trainerTests = fileURLToPath(new URL('../../../docker/trainer/tests', import.meta.url));
let folder: string;
const path = (name: string): string => join(folder, name);
const cairn = (...args: string[]) => runTestCli(args, { env: { CAIRN_PYTHON: trainerPython(), PATH: process.env.PATH ?? '' } });

/** Runs Python with the trainer's tests on its path; it gets the folder, and prints JSON. */
async function python(program: string): Promise<unknown> {
  const paths = `import json, sys; sys.path[:0] = [${JSON.stringify(trainerTests)}, ${JSON.stringify(dirname(trainerTests))}]\n`;
  const { stdout } = await promisify(execFile)(trainerPython(), ['-I', '-c', paths + program, folder]);
  return JSON.parse(stdout || 'null');
}

const counts = fewImages({
  ...{ cleanLandmarks: 4, fullOnlyLandmarks: 0, indexOnlyLandmarks: 0, strays: 2, ignoredQueries: 0 },
  ...{ extraImages: [0, 0], fullOnlyImages: [0, 0], indexImages: [3, 3] },
});

/** A query that is a picture of the index, warped, and one that is a picture of the collection; features that know nothing of both. */
const makeQueries = `
import cv2, numpy as np, pickle
from PIL import Image
from pathlib import Path
folder = Path(sys.argv[1])
def is_readable(file):
    try:
        Image.open(file).load()
    except OSError:
        return False
    return True
def named(split):
    return sorted(file.stem for file in folder.glob(f'images/{split}/*/*/*/*.jpg') if is_readable(file))
readable = named('index')
index = [*readable, 'broken']
original = cv2.imread(str(folder / 'images/index' / '/'.join(readable[-1][:3]) / f'{readable[-1]}.jpg'))
warp = np.array([[1.3, 0.1, 10], [-0.1, 1.2, 20], [3e-4, 0, 1]])
(folder / 'images/test/w/a/r').mkdir(parents=True)
cv2.imwrite(str(folder / 'images/test/w/a/r/warped.jpg'), cv2.warpPerspective(original, warp, (200, 170)))
queries = named('test')
random = np.random.default_rng(3)
for model in ('a', 'b'):
    for kind, names in (('probe', queries), ('index', index)):
        vectors = random.normal(0, 0.02, (len(names), 8)) + 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        content = {f'{kind}_name_list': np.array(names), f'{kind}_feats': vectors.astype(np.float16)}
        pickle.dump(content, open(folder / f'{kind}-{model}.pkl', 'wb'))
print(json.dumps({'index': index, 'queries': queries, 'original': readable[-1]}))
`;
const made = z.object({ index: z.array(z.string()), queries: z.array(z.string()), original: z.string() });
let ids: z.infer<typeof made>;
const sets = ['a', 'b'].flatMap((model) => [`--queries=${model}=PROBE-${model}`, `--index=${model}=INDEX-${model}`]);
const images = (): string[] => ['--query-images', path('images/test'), '--index-images', path('images/index')];
const search = (out: string, ...args: string[]) => {
  const given = sets.map((set) =>
    set.replace(/=(PROBE|INDEX)-(\w)$/, (_, kind: string, model: string) => `=${path(`${kind.toLowerCase()}-${model}`)}`),
  );
  return cairn('search', ...given, '--top-k', '8', '--threads', '2', ...args, '--out', path(out));
};
const manifestOf = async (out: string): Promise<unknown> => JSON.parse(await readFile(path(join(out, 'manifest.json')), 'utf8'));

async function neighboursOf(out: string) {
  const parquet = await openParquet();
  try {
    return (await readNeighbours(parquet, path(join(out, 'neighbours.parquet')))).neighbours;
  } finally {
    await parquet.close();
  }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-matching-'));
  const { layout } = await makeMiniDataset({ out: path('mini'), seed: 1, counts });
  await cp(path(join('mini', layout.images)), path('images'), { recursive: true });
  const broken = path(join('images/index', memberPath('broken')));
  await mkdir(dirname(broken), { recursive: true });
  await writeFile(broken, 'not a picture');
  ids = made.parse(await python(makeQueries));
  for (const set of ['probe-a', 'probe-b', 'index-a', 'index-b'])
    expect((await cairn('import', 'features', path(`${set}.pkl`), '--out', path(set))).err).toBe('');
});
afterAll(() => rm(folder, { recursive: true }));

/** The oracle's answer for the first images of rankings. */
const reorder = (rankings: unknown, count: number) => `
from pathlib import Path
from local_matching_oracle import inliers_by_definition, reordered
def read(split, name):
    return (Path(sys.argv[1]) / 'images' / split / '/'.join(name[:3]) / f'{name}.jpg').read_bytes()
def inliers(query, name):
    return 0 if name == 'broken' else inliers_by_definition(read('test', query), read('index', name), 320)
rankings = json.loads(${JSON.stringify(JSON.stringify(rankings))})
print(json.dumps([reordered(names, scores, [inliers(query, name) for name in names[:${count}]]) for query, names, scores in rankings]))
`;

test.each([
  ['off', ['--weight', 'b=0.5']],
  ['k_reciprocal', ['--k1', '3', '--k2', '2']],
])('with --rerank %s the first images are reordered as by the definition, and the others follow', async (mode, more) => {
  const args = ['--rerank', mode, ...more];
  expect((await search(`${mode}-before`, ...args)).err).toBe('');
  const matched = await search(mode, ...args, '--local-matching', 'sift', '--local-images', '5', '--local-side', '320', ...images());
  expect({ code: matched.code, err: matched.err }).toEqual({ code: 0, err: '' });

  const before = [...(await neighboursOf(`${mode}-before`))];
  const rankings = before.map(([query, { imageIds, scores }]) => [query, imageIds, scores]);
  const expected = z.array(z.tuple([z.array(z.string()), z.array(z.number())])).parse(await python(reorder(rankings, 5)));
  const after = [...(await neighboursOf(mode))];
  expect(after.map(([, { imageIds }]) => imageIds)).toEqual(expected.map(([imageIds]) => imageIds));
  for (const [row, [, { scores }]] of after.entries())
    for (const [rank, score] of scores.entries()) expect(score).toBeCloseTo(expected[row]?.[1][rank] ?? 0, 12);
  // Some order changed, or nothing was tested.
  expect(after).not.toEqual(before);
});

test('a warped copy comes first, an image that cannot be read is named, and a second search takes the inliers from the cache', async () => {
  const args = ['--local-matching', 'sift', '--local-images', '50', '--matching-cache', path('cache'), ...images()];
  const all = ['--top-k', String(ids.index.length)];
  const first = await search('first', ...args, ...all);
  expect({ code: first.code, err: first.err }).toEqual({ code: 0, err: '' });
  const pairs = ids.queries.length * ids.index.length;
  expect(first.out).toContain(`${pairs} pairs of images matched by sift (OpenCV `);
  expect(first.out).toMatch(/Without inliers, because they cannot be read: .*b\/r\/o\/broken\.jpg \(not an image of a known format\)/);
  const { imageIds = [], scores = [] } = (await neighboursOf('first')).get('warped') ?? {};
  expect(imageIds[0]).toBe(ids.original);
  // The features are all alike: it is the inliers that put the next far behind.
  expect((scores[0] ?? 0) - (scores[1] ?? 0)).toBeGreaterThan(0.02);
  const unreadable = [{ side: 'index', path: 'b/r/o/broken.jpg', reason: 'not an image of a known format' }];
  expect(await manifestOf('first')).toMatchObject({
    localMatching: {
      ...{ matcher: { kind: 'sift', sha256: null }, pairs, cachedPairs: 0 },
      settings: { images: 50, weight: 0.15, mostInliers: 90, longSide: 800, ransacPixels: 4, confidence: 0.99, iterations: 1000 },
      ...{ unreadableImages: 1, unreadable },
    },
  });

  expect((await search('second', ...args, ...all, '--local-weight', '0.3')).code).toBe(0);
  expect(await manifestOf('second')).toMatchObject({ localMatching: { cachedPairs: pairs - ids.queries.length, unreadable } });
});

test('an ONNX matcher is given by its path, and its digest is recorded', async () => {
  await python("from pathlib import Path; from test_local_matching import onnx_matcher; onnx_matcher(Path(sys.argv[1]) / 'grid.onnx')");
  const { code, err } = await search('onnx', '--local-matching', path('grid.onnx'), ...images());
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const sha256 = await sha256File(path('grid.onnx'));
  expect(await manifestOf('onnx')).toMatchObject({ localMatching: { matcher: { kind: 'onnx', sha256 } } });

  await python(
    "from pathlib import Path; from test_local_matching import onnx_matcher; onnx_matcher(Path(sys.argv[1]) / 'rgb.onnx', channels=3)",
  );
  expect(await search('none', '--local-matching', path('rgb.onnx'), ...images())).toMatchObject({
    code: 2,
    err: expect.stringMatching(/rgb\.onnx is not a matcher of the accepted form: it has image0 as tensor\(float\) \[1, 3,/),
  });
});

test('what is missing or out of its range is one clear error', async () => {
  const given = ['--local-matching', 'sift'];
  const refused = async (...args: string[]) => (await search('none', ...args)).err.split('\n').slice(0, 2).join('\n');
  expect(await refused(...given, '--query-images', path('images/test'))).toMatch(
    /^error: --local-matching needs --query-images and --index-images\nhint: Pass the folders/,
  );
  expect(await refused(...images())).toMatch(/^error: --query-images is for --local-matching, which is not given\nhint: Add/);
  expect(await refused(...given, '--query-images', path('nowhere'), '--index-images', path('images/index'))).toMatch(
    /^error: The folder of the images of the queries .*nowhere does not exist/,
  );
  expect(await refused('--local-matching', path('none.onnx'), ...images())).toMatch(/^error: The matcher .*none\.onnx does not exist/);
  expect(await refused(...given, ...images(), '--ransac-pixels', '0')).toContain('It must be a number above 0, at most 1000.');
  expect(await refused(...given, ...images(), '--local-ratio', '1.5')).toContain('It must be a number from 0 to 1.');
  const args = ['search', '--queries', path('probe-a'), '--index', path('index-a'), ...given, ...images(), '--out', path('none')];
  const withoutPython = await runTestCli(args, { env: { CAIRN_PYTHON: '/no/such/python' } });
  expect(withoutPython.err).toMatch(/^error: The interpreter \/no\/such\/python cannot be started\nhint: Set CAIRN_PYTHON/);
  const withoutPackages = await runTestCli(args, { env: { CAIRN_PYTHON: '/bin/false' } });
  expect(withoutPackages.err).toMatch(/cairn_trainer\.match_images, run by \/bin\/false, ended with exit code 1/);
});
