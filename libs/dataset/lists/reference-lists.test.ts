import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ListName } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import { generateMetadata, scaledCounts } from '../testing/bench/generate-metadata.ts';
import type { HandMadeFiles } from '../testing/hand-made-collection.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { readList } from './manifest.ts';
import { prepareLists } from './prepare-lists.ts';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../testing/reference_lists.py', import.meta.url));
const python = process.env.CAIRN_PYTHON ?? 'python3';
const lists: ListName[] = ['clean', 'c2x', 'full', 'index_train', 'test', 'all'];

/** A list as lines `image_id,path,label,noisy,country,continent,image_number`. */
type Lines = Record<string, string[]>;

async function plainPython(metadata: string, countries: string, out: string): Promise<Lines> {
  await run(python, ['-I', program, '--metadata', metadata, '--countries', countries, '--out', out, '--seed', '7'], { timeout: 20_000 });
  const texts = lists.map(async (list) => [list, (await readFile(join(out, `${list}.csv`), 'utf8')).trimEnd().split('\n').slice(1)]);
  return Object.fromEntries(await Promise.all(texts));
}

/** Makes the lists with their text, compares the two, and gives the rows. */
async function ours(metadata: string, countries: string, out: string): Promise<Lines> {
  const images = { kind: 'folder', root: metadata } as const;
  const manifest = await prepareLists({ metadata, countries, images, lists, testSeed: 7, withText: true, out });
  const lines: Lines = {};
  for (const list of lists) {
    const entry = manifest.lists[list];
    const rows = (await Array.fromAsync(readList(join(out, entry?.path ?? '')))).flat();
    lines[list] = rows.map((row) =>
      [row.imageId, row.path, row.label, row.noisy ? 1 : 0, row.country ?? '', row.continent ?? '', row.imageNumber].join(','),
    );
    const text = rows.map((row) => `${row.path},${row.label},${row.noisy ? 1 : 0},${row.continent ?? 'null'}\n`).join('');
    expect(await readFile(join(out, entry?.text?.path ?? ''), 'utf8')).toBe(text);
  }
  return lines;
}

/** What both make of a collection below `root`. */
async function both(root: string): Promise<{ expected: Lines; found: Lines }> {
  const [metadata, countries] = [join(root, 'metadata'), join(root, 'countries')];
  return {
    expected: await plainPython(metadata, countries, join(root, 'expected')),
    found: await ours(metadata, countries, join(root, 'found')),
  };
}

const wiki = 'http://commons.wikimedia.org/wiki/Category:';
const landmarks = Array.from({ length: 60 }, (_, i) => i);
const query = (n: number, labels: number[], usage: string): string =>
  `q${String(n).padStart(2, '0')},${labels.map((label) => `i${String(label).padStart(2, '0')}a`).join(' ')},${usage}`;

const edgeCases: Record<string, HandMadeFiles> = {
  'the collection known by heart': {},
  'duplicate categories, landmarks with two, and categories of landmarks without images': {
    'train_label_to_category.csv': [
      ...handMade['train_label_to_category.csv'],
      `30,${wiki}Alpha`,
      `999,${wiki}Delta`,
      `20,${wiki}Epsilon`,
      `21,"${wiki}Beta,_""Town"""`,
    ],
    'index_label_to_category.csv': [...handMade['index_label_to_category.csv'], `2,${wiki}Alpha`, `3,${wiki}Epsilon`],
  },
  'quotes where they need not be, doubled or not, with commas, spaces and non-ASCII': {
    'train_label_to_category.csv': [
      'landmark_id,category',
      `70,"${wiki}Alpha"`,
      `30,${wiki}Beta,_"Town"`,
      `50,"${wiki}Gamma, ""old"""`,
      `20,${wiki}Österreich_%C3%A9`,
      `21,"${wiki}""Delta"""`,
    ],
    'index_label_to_category.csv': [
      'landmark_id,category',
      `1,${wiki}Alpha  `,
      `2,"${wiki}Beta,_""Town"""`,
      `3,${wiki}""Delta""`,
      `4,${wiki}Österreich_%C3%A9`,
    ],
  },
  'images that stand twice, in one landmark and in two, clean and not': {
    'train_clean.csv': ['landmark_id,images', '70,a1aaaa a2aaaa a1aaaa', '30,b1bbbb a1aaaa'],
    'train.csv': [...handMade['train.csv'], 'a1aaaa,http://x/9,30', 'a1aaaa,http://x/9,50', 'g1gggg,http://x/9,50', 'a1aaaa,http://x/9,70'],
    'index_image_to_landmark.csv': [...handMade['index_image_to_landmark.csv'], 'i1iiii,1', 'i2iiii,3', 'a1aaaa,1'],
  },
  'queries with many labels, which come in the order of a set': {
    'train_clean.csv': ['landmark_id,images', ...landmarks.map((n) => `${n},t${String(n).padStart(2, '0')}`)],
    'train.csv': ['id,url,landmark_id', ...landmarks.map((n) => `t${String(n).padStart(2, '0')},u,${n}`)],
    'train_label_to_category.csv': ['landmark_id,category', ...landmarks.map((n) => `${n},${wiki}C${n}`)],
    'index_label_to_category.csv': ['landmark_id,category', ...landmarks.map((n) => `${n},${wiki}C${n}`)],
    'index_image_to_landmark.csv': ['id,landmark_id', ...landmarks.map((n) => `i${String(n).padStart(2, '0')}a,${n}`)],
    'retrieval_solution_v2.1.csv': [
      'id,images,Usage',
      query(1, [40, 8, 16, 0], 'Public'),
      'q02,None,Ignored',
      query(3, [59, 3, 33, 1, 17, 49, 3], 'Private'),
      query(4, landmarks.toReversed(), 'Private'),
      'q05,,Ignored',
    ],
  },
};

describe('the lists are row for row those of a plain Python program', () => {
  test.each(Object.keys(edgeCases))('on %s', async (name) => {
    await using folder = await testFolder();
    await writeFiles(join(folder.path, 'metadata'), { ...handMade, ...edgeCases[name] });
    await writeFiles(join(folder.path, 'countries'), handMadeCountries);
    const { expected, found } = await both(folder.path);
    expect(found).toEqual(expected);
    expect(expected.all?.length).toBeGreaterThan(10);
  });

  test('on metadata in the proportions of GLDv2', async () => {
    await using folder = await testFolder();
    await generateMetadata(folder.path, scaledCounts(1 / 2000));
    const { expected, found } = await both(folder.path);
    expect(found).toEqual(expected);
    expect(expected.all?.length).toBeGreaterThan(2000);
  });
});
