import type { ListName } from '@cairn/contract';
import { imageIdPattern } from '../folders.ts';

/** The rule of a column: a pattern for the whole cell (valid in both JavaScript and RE2) and its description. */
export type ColumnRule = { name: string; pattern: string; expected: string };

/** The CSV files of GLDv2 that lists are made from. */
export type MetadataFile = {
  name: string;
  /** The folder of the file if the metadata is split as for the upstream program. */
  part: 'train' | 'index' | 'test';
  columns: readonly ColumnRule[];
  /** The column whose values must be unique. */
  unique?: string | undefined;
};

const imageId = imageIdPattern.source.slice(1, -1);
const id: ColumnRule = { name: 'id', pattern: imageId, expected: 'an image id: 3 to 64 letters, digits, dashes or underscores' };
const landmark: ColumnRule = { name: 'landmark_id', pattern: '[0-9A-Za-z_.-]+', expected: 'a landmark id' };
const category: ColumnRule = {
  name: 'category',
  pattern: '"?http://commons\\.wikimedia\\.org/wiki/Category:.+',
  expected: 'http://commons.wikimedia.org/wiki/Category: and a name',
};
const imageList = `${imageId}( ${imageId})*`;

export const metadataFiles = {
  train: { name: 'train.csv', part: 'train', columns: [id, landmark] },
  trainClean: {
    name: 'train_clean.csv',
    part: 'train',
    columns: [landmark, { name: 'images', pattern: imageList, expected: 'image ids separated by single spaces' }],
    unique: 'landmark_id',
  },
  trainCategory: { name: 'train_label_to_category.csv', part: 'train', columns: [landmark, category] },
  indexCategory: { name: 'index_label_to_category.csv', part: 'index', columns: [landmark, category] },
  indexLandmark: { name: 'index_image_to_landmark.csv', part: 'index', columns: [id, landmark] },
  index: { name: 'index.csv', part: 'index', columns: [id], unique: 'id' },
  // Not part of GLDv2: users with the images of the 2021 competition create it from their ids, one per line after `id`.
  competitionIndex: { name: 'competition_index.csv', part: 'index', columns: [id], unique: 'id' },
  test: { name: 'test.csv', part: 'test', columns: [id], unique: 'id' },
  solution: {
    name: 'retrieval_solution_v2.1.csv',
    part: 'test',
    columns: [
      id,
      { name: 'images', pattern: `(${imageList})?`, expected: 'image ids separated by single spaces, or None for an ignored query' },
      { name: 'Usage', pattern: 'Public|Private|Ignored', expected: 'Public, Private or Ignored' },
    ],
    unique: 'id',
  },
} as const satisfies Record<string, MetadataFile>;
export type MetadataFileKey = keyof typeof metadataFiles;

const labelFiles = ['train', 'trainClean', 'trainCategory', 'indexCategory', 'indexLandmark'] as const;

/** The files that each list requires. */
export const filesOfList = {
  clean: ['trainClean'],
  c2x: ['train', 'trainClean'],
  full: ['train', 'trainClean'],
  index_train: labelFiles,
  test: labelFiles,
  all: [...labelFiles, 'solution'],
  query: ['solution'],
  index: ['index'],
  index_expand: ['competitionIndex', 'solution'],
} as const satisfies Record<ListName, readonly MetadataFileKey[]>;

/** Optional files of a collection: if they exist, registration checks them and includes them in its digest. */
export const optionalFiles: readonly MetadataFileKey[] = ['competitionIndex'];

/** The files that give images of `query`, `index` and `index_expand` their labels. Without all of them the labels are -1. */
export const labellingFiles: readonly MetadataFileKey[] = labelFiles;

/** The lists whose images need no labels: queries and index. */
export const searchLists: readonly ListName[] = ['query', 'index', 'index_expand'];

/**
 * The files that the lists need, each once, with the lists that need it. `withCountries`: the rows get their countries, which are joined by
 * train categories.
 */
export function filesNeeded(lists: readonly ListName[], withCountries: boolean): Map<MetadataFileKey, ListName[]> {
  const needed = new Map<MetadataFileKey, ListName[]>();
  for (const list of lists) {
    const files = new Set<MetadataFileKey>(filesOfList[list]);
    if (withCountries && files.has('trainClean')) files.add('trainCategory');
    for (const file of files) needed.set(file, [...(needed.get(file) ?? []), list]);
  }
  return needed;
}
