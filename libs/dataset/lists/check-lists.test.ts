import { join } from 'node:path';
import type { ListName } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import type { HandMadeFiles } from '../testing/hand-made-collection.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import type { CheckedLists } from './check-lists.ts';
import { checkLists } from './check-lists.ts';
import { prepareLists } from './prepare-lists.ts';

const lists: ListName[] = ['clean', 'c2x', 'full', 'index_train', 'test', 'all', 'query', 'index'];

async function check(files: HandMadeFiles = {}, countries?: HandMadeFiles): Promise<CheckedLists> {
  await using folder = await testFolder();
  await writeFiles(join(folder.path, 'metadata'), { ...handMade, ...files });
  const places = countries === undefined ? undefined : join(folder.path, 'countries');
  if (places !== undefined) await writeFiles(places, countries ?? {});
  return await checkLists({ metadata: join(folder.path, 'metadata'), countries: places, lists });
}

const found = ({ issues }: CheckedLists): Record<string, string> =>
  Object.fromEntries(
    issues.map(({ id, count, examples, isFault }) => [id, `${isFault ? 'fault' : 'note'} ${count}: ${examples.join(' ')}`]),
  );

/** What the collection known by heart has, with which it was made. */
const ownFindings = {
  repeated_train_category_category: 'note 1: Delta',
  clean_image_of_another_landmark: 'fault 1: b2bbbb',
  index_image_without_landmark: 'note 1: x1xxxx',
  index_category_unknown_to_train: 'note 1: Epsilon',
  train_category_unknown_to_index: 'note 1: Gamma',
};

describe('a check of the lists', () => {
  test('counts what making them would', async () => {
    await using folder = await testFolder();
    const metadata = join(folder.path, 'metadata');
    await writeFiles(metadata, handMade);
    const images = { kind: 'folder', root: folder.path } as const;
    const { lists: made } = await prepareLists({ metadata, images, lists, testSeed: 0, out: join(folder.path, 'out') });
    const { counts } = await checkLists({ metadata, lists });
    expect(counts.map(({ list, rows, labels }) => [list, rows, labels])).toEqual(
      lists.map((list) => [list, made[list]?.rows, made[list]?.labels]),
    );
    expect(counts.find(({ list }) => list === 'c2x')).toMatchObject({ known: { rows: 3_223_078, labels: 81_313 }, isAsKnown: false });
    expect(counts.find(({ list }) => list === 'test')).toMatchObject({ known: null, isAsKnown: null });
  });

  test('reports inconsistencies with examples', async () => {
    expect(found(await check())).toEqual(ownFindings);
  });

  const { 'train.csv': train, 'index.csv': index, 'index_image_to_landmark.csv': landmarks, 'train_clean.csv': clean } = handMade;
  const solution = handMade['retrieval_solution_v2.1.csv'];
  const wiki = 'http://commons.wikimedia.org/wiki/Category:';
  test.each([
    ['repeated_train_id', 'fault 1: d1dddd', { 'train.csv': [...train, 'd1dddd,u,20', 'd1dddd,u,20'] }],
    ['repeated_train_clean_landmark_id', 'fault 1: 70', { 'train_clean.csv': [...clean, '70,a3aaaa'] }],
    [
      'repeated_clean_image',
      'fault 1: a1aaaa',
      { 'train_clean.csv': ['landmark_id,images', '70,a1aaaa a2aaaa', '30,b1bbbb b2bbbb a1aaaa'] },
    ],
    ['repeated_index_image_id', 'fault 1: i6iiii', { 'index.csv': [...index, 'i6iiii'] }],
    ['repeated_index_landmark_id', 'fault 1: i1iiii', { 'index_image_to_landmark.csv': [...landmarks, 'i1iiii,3'] }],
    ['repeated_solution_id', 'fault 1: q1qqqq', { 'retrieval_solution_v2.1.csv': [...solution, 'q1qqqq,i1iiii,Public'] }],
    ['repeated_competition_index_id', 'fault 1: i6iiii', { 'competition_index.csv': ['id', 'i6iiii', 'i6iiii'] }],
    [
      'clean_image_not_in_train',
      'fault 1: a9aaaa',
      { 'train_clean.csv': ['landmark_id,images', '70,a1aaaa a2aaaa a9aaaa', '30,b1bbbb b2bbbb'] },
    ],
    ['clean_landmark_not_in_train', 'fault 1: 71', { 'train_clean.csv': [...clean, '71,a3aaaa'] }],
    ['train_landmark_without_category', 'fault 1: 77', { 'train.csv': [...train, 'e1eeee,u,77'] }],
    [
      'category_without_train_image',
      'fault 1: 99',
      { 'train_label_to_category.csv': [...handMade['train_label_to_category.csv'], `99,${wiki}X`] },
    ],
    ['landmark_of_no_index_image', 'fault 1: z1zzzz', { 'index_image_to_landmark.csv': [...landmarks, 'z1zzzz,1'] }],
    ['index_landmark_without_category', 'fault 1: 9', { 'index_image_to_landmark.csv': [...landmarks, 'x1xxxx,9'] }],
    [
      'category_without_index_image',
      'note 1: 8',
      { 'index_label_to_category.csv': [...handMade['index_label_to_category.csv'], `8,${wiki}X`] },
    ],
    ['ground_truth_not_in_index', 'fault 1: z1zzzz', { 'retrieval_solution_v2.1.csv': [...solution, 'q9qqqq,z1zzzz i1iiii,Public'] }],
    ['query_not_in_test', 'fault 3: q2qqqq q3qqqq q4qqqq', { 'test.csv': ['id', 'q1qqqq'] }],
    ['test_image_without_solution', 'fault 1: q8qqqq', { 'test.csv': ['id', 'q1qqqq', 'q2qqqq', 'q3qqqq', 'q4qqqq', 'q8qqqq'] }],
    ['competition_image_not_in_index', 'fault 1: z1zzzz', { 'competition_index.csv': ['id', 'i6iiii', 'z1zzzz'] }],
    [
      'repeated_train_category_landmark_id',
      'note 1: 70',
      { 'train_label_to_category.csv': [...handMade['train_label_to_category.csv'], `70,${wiki}Alpha`] },
    ],
  ] satisfies [string, string, HandMadeFiles][])('finds %s', async (id, what, files) => {
    const issues = found(await check(files));
    expect(issues[id]).toBe(what);
    expect(ownFindings).not.toHaveProperty(id);
  });

  test('checks countries if they are given', async () => {
    expect(found(await check({}, handMadeCountries))).toEqual(ownFindings);
    const countries = {
      ...handMadeCountries,
      'country_codes.json': '["FR", "NA", "ZZ"]',
      'ZZ.json': '[{"name": "Delta"}, {"name": "Nowhere"}]',
    };
    expect(found(await check({}, countries))).toMatchObject({
      train_category_without_country: 'fault 1: Beta,_""Town""',
      country_name_unknown_to_train: 'note 1: Nowhere',
      country_without_continent: 'fault 1: ZZ',
    });
  });

  test('ends with a bad row as making them does', async () => {
    await expect(check({ 'index.csv': ['id', '../x'] })).rejects.toMatchObject({ code: 'bad_row' });
  });
});
