import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CategoryQuotes, knownCounts, type ListName } from '@cairn/contract';
import { count, type Database, openDatabase, text } from '../duckdb.ts';
import { createFileGate } from '../file-gate.ts';
import { requireFolder } from '../folders.ts';
import type { MetadataFileKey } from '../metadata/files.ts';
import { loadMetadata, tableOf } from '../metadata/load-metadata.ts';
import { takeInMetadata } from '../metadata/take-in.ts';
import { defineLists, makeListTables, rowsOf } from './definitions.ts';
import { loadCountries } from './load-tables.ts';

export type CheckListsOptions = {
  metadata: string;
  countries?: string | undefined;
  lists: readonly ListName[];
  categoryQuotes?: CategoryQuotes;
  signal?: AbortSignal;
};

/** Rows and labels of a list, next to those of GLDv2's; `known` is null if they are unknown. */
export type ListCount = {
  list: ListName;
  rows: number;
  labels: number;
  known: { rows: number; labels: number | null; source: string } | null;
  isAsKnown: boolean | null;
};

export type MetadataIssue = { id: string; count: number; examples: string[]; isFault: boolean; says: string };

export type CheckedLists = { counts: ListCount[]; issues: MetadataIssue[] };

const shownExamples = 5;
const shownCharacters = 200;

/**
 * Reads the metadata and returns the counts of the lists, next to the published counts, and inconsistencies of the files: duplicate ids,
 * ids that one file has and another lacks, categories without a match. Nothing is written.
 *
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`; the signal's reason.
 */
export async function checkLists(options: CheckListsOptions): Promise<CheckedLists> {
  const { metadata, countries, lists, categoryQuotes = 'reference', signal } = options;
  await requireFolder('The metadata folder', metadata);
  if (countries !== undefined) await requireFolder('The countries folder', countries);
  const folder = await mkdtemp(join(tmpdir(), 'cairn-check-'));
  const database = await openDatabase({ folder, ...(signal ? { signal } : {}) });
  try {
    const wanted = { lists, importable: [], also: ['test', 'index', 'competitionIndex'] } as const;
    const taken = await takeInMetadata({ metadata, countries }, wanted, { folder, gate: await createFileGate(null), signal });
    const rows = await loadMetadata(database, taken.files, { categoryQuotes, allowsRepeated: true }, signal);
    const loaded = new Set(rows.keys());
    await makeListTables(database, loaded);
    if (taken.countries !== null) await loadCountries(database, taken.countries, loaded, categoryQuotes, signal);
    const counts: ListCount[] = [];
    for (const [list, definition] of defineLists(lists, { seed: 0, cleanLandmarks: rows.get('trainClean') ?? 0 })) {
      counts.push(await countList(database, list, rowsOf(definition)));
    }
    const issues: MetadataIssue[] = [];
    for (const question of questionsTo(loaded, countries !== undefined)) {
      const [answer] = await database.rows(`select count(*) as n from (${question.rows})`);
      if (count(answer?.n) === 0) continue;
      const examples = await database.rows(`select example from (${question.rows}) order by example limit ${shownExamples}`);
      const { id, isFault, says } = question;
      issues.push({
        id,
        count: count(answer?.n),
        examples: examples.map((row) => text(row.example).slice(0, shownCharacters)),
        isFault,
        says,
      });
    }
    return { counts, issues };
  } finally {
    database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function countList(database: Database, list: ListName, rows: string): Promise<ListCount> {
  const [answer] = await database.rows(`select count(*) as n, count(distinct label) filter (where label >= 0) as labels from (${rows})`);
  const [n, labels] = [count(answer?.n), count(answer?.labels)];
  const known = knownCounts[list] ?? null;
  const isAsKnown = known === null ? null : known.rows === n && (known.labels === null || known.labels === labels);
  return { list, rows: n, labels, known, isAsKnown };
}

/** A consistency check of the metadata. */
type Question = {
  id: string;
  /** The files that it needs. */
  files: readonly MetadataFileKey[];
  /** SQL of the issues, one `example` per row. */
  rows: string;
  /** The severity: a fault loses images or counts them twice; a note is harmless. */
  isFault: boolean;
  /** The message, after the number of issues. */
  says: string;
};

const repeated = (key: MetadataFileKey, column: string, isFault: boolean, says: string): Question => ({
  id: `repeated_${tableOf[key]}_${column}`,
  files: [key],
  rows: `select ${column} as example from ${tableOf[key]} group by ${column} having count(*) > 1`,
  isFault,
  says,
});

/** Ids that are only on one side. Both are SQL with one column, `example`. */
const missing = (
  id: string,
  files: readonly MetadataFileKey[],
  sides: { of: string; in: string; isFault: boolean; says: string },
): Question => ({
  id,
  files,
  rows: `select distinct example from (${sides.of}) where example not in (${sides.in})`,
  isFault: sides.isFault,
  says: sides.says,
});

const column = (key: MetadataFileKey, name: string): string => `select ${name} as example from ${tableOf[key]}`;
const truths = 'select image_id as example from truth';
const trainCategories = column('trainCategory', 'category');
const indexCategories = column('indexCategory', 'category');

const duplicates: Question[] = [
  repeated('train', 'id', true, 'duplicate ids in train.csv'),
  repeated('trainClean', 'landmark_id', true, 'duplicate landmarks in train_clean.csv'),
  {
    id: 'repeated_clean_image',
    files: ['trainClean'],
    rows: 'select image_id as example from clean_image group by image_id having count(*) > 1',
    isFault: true,
    says: 'duplicate images in train_clean.csv',
  },
  repeated('index', 'id', true, 'duplicate ids in index.csv'),
  repeated('indexLandmark', 'id', true, 'duplicate ids in index_image_to_landmark.csv; the last row is used'),
  repeated('solution', 'id', true, 'duplicate queries in retrieval_solution_v2.1.csv'),
  repeated('competitionIndex', 'id', true, 'duplicate ids in competition_index.csv'),
  repeated('test', 'id', true, 'duplicate ids in test.csv'),
  repeated('trainCategory', 'landmark_id', false, 'train landmarks have several categories; the last one is used'),
  repeated('trainCategory', 'category', false, 'categories belong to several train landmarks; their index images get the last one'),
  repeated('indexCategory', 'landmark_id', false, 'index landmarks have several categories; the last one is used'),
];

const missingIds: Question[] = [
  missing('clean_image_not_in_train', ['train', 'trainClean'], {
    of: 'select image_id as example from clean_image',
    in: column('train', 'id'),
    isFault: true,
    says: 'images of train_clean.csv are not in train.csv',
  }),
  {
    id: 'clean_image_of_another_landmark',
    files: ['train', 'trainClean'],
    rows: `select image_id as example from clean_image where image_id in (select id from train)
           and (gid, image_id) not in (select (l.gid, t.id) from train t join landmark l using (landmark_id))`,
    isFault: true,
    says: 'images of train_clean.csv are in train.csv only under another landmark, so they count as noisy there',
  },
  missing('clean_landmark_not_in_train', ['train', 'trainClean'], {
    of: column('trainClean', 'landmark_id'),
    in: column('train', 'landmark_id'),
    isFault: true,
    says: 'landmarks of train_clean.csv have no row in train.csv',
  }),
  missing('train_landmark_without_category', ['train', 'trainCategory'], {
    of: column('train', 'landmark_id'),
    in: column('trainCategory', 'landmark_id'),
    isFault: true,
    says: 'landmarks of train.csv have no category: no index image joins them, and they have no country',
  }),
  missing('category_without_train_image', ['train', 'trainCategory'], {
    of: column('trainCategory', 'landmark_id'),
    in: column('train', 'landmark_id'),
    isFault: true,
    says: 'landmarks of train_label_to_category.csv have no row in train.csv',
  }),
  missing('index_image_without_landmark', ['index', 'indexLandmark'], {
    of: column('index', 'id'),
    in: column('indexLandmark', 'id'),
    isFault: false,
    says: 'images of index.csv have no landmark in index_image_to_landmark.csv: they are searched but never trained on',
  }),
  missing('landmark_of_no_index_image', ['index', 'indexLandmark'], {
    of: column('indexLandmark', 'id'),
    in: column('index', 'id'),
    isFault: true,
    says: 'images of index_image_to_landmark.csv are not in index.csv',
  }),
  missing('index_landmark_without_category', ['indexLandmark', 'indexCategory'], {
    of: column('indexLandmark', 'landmark_id'),
    in: column('indexCategory', 'landmark_id'),
    isFault: true,
    says: 'landmarks of index_image_to_landmark.csv have no category: their images are dropped',
  }),
  missing('category_without_index_image', ['indexLandmark', 'indexCategory'], {
    of: column('indexCategory', 'landmark_id'),
    in: column('indexLandmark', 'landmark_id'),
    isFault: false,
    says: 'landmarks of index_label_to_category.csv have no index image',
  }),
  missing('ground_truth_not_in_index', ['index', 'solution'], {
    of: truths,
    in: column('index', 'id'),
    isFault: true,
    says: 'ground truths are not in index.csv, so no search can find them',
  }),
  missing('ground_truth_without_landmark', ['indexLandmark', 'solution'], {
    of: truths,
    in: column('indexLandmark', 'id'),
    isFault: true,
    says: 'ground truths are not in index_image_to_landmark.csv, so they give their query no label',
  }),
  missing('query_not_in_test', ['test', 'solution'], {
    of: column('solution', 'id'),
    in: column('test', 'id'),
    isFault: true,
    says: 'queries of retrieval_solution_v2.1.csv are not in test.csv',
  }),
  missing('test_image_without_solution', ['test', 'solution'], {
    of: column('test', 'id'),
    in: column('solution', 'id'),
    isFault: true,
    says: 'images of test.csv have no row in retrieval_solution_v2.1.csv',
  }),
  missing('competition_image_not_in_index', ['competitionIndex', 'index'], {
    of: column('competitionIndex', 'id'),
    in: column('index', 'id'),
    isFault: true,
    says: 'ids of competition_index.csv are not in index.csv',
  }),
];

const joins: Question[] = [
  missing('index_category_unknown_to_train', ['trainCategory', 'indexCategory'], {
    of: indexCategories,
    in: trainCategories,
    isFault: false,
    says: 'index categories are not in train: their images are only in the list index',
  }),
  missing('train_category_unknown_to_index', ['trainCategory', 'indexCategory'], {
    of: trainCategories,
    in: indexCategories,
    isFault: false,
    says: 'train categories are not in the index: no index image joins them',
  }),
];

/** Checks of the table category_country, if there are countries. */
const places: Question[] = [
  missing('train_category_without_country', ['trainCategory'], {
    of: trainCategories,
    in: 'select category from category_country',
    isFault: true,
    says: 'train categories are in no country file: their rows have no country and no continent',
  }),
  missing('country_name_unknown_to_train', ['trainCategory'], {
    of: 'select category as example from category_country',
    in: trainCategories,
    isFault: false,
    says: 'names in the country files are not train categories',
  }),
  {
    id: 'country_without_continent',
    files: ['trainCategory'],
    rows: 'select distinct country as example from category_country where continent is null',
    isFault: true,
    says: 'countries have no continent in continent_codes.csv',
  },
];

/** All checks for the loaded files. */
function questionsTo(loaded: ReadonlySet<MetadataFileKey>, withCountries: boolean): Question[] {
  const questions = [...duplicates, ...missingIds, ...joins, ...(withCountries ? places : [])];
  return questions.filter(({ files }) => files.every((file) => loaded.has(file)));
}
