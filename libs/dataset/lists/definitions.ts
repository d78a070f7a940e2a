import type { ListName } from '@cairn/contract';
import { count, type Database, literal } from '../duckdb.ts';
import { labellingFiles, type MetadataFileKey, searchLists } from '../metadata/files.ts';

/**
 * The lists of the 2nd place solution to Google Landmark Retrieval 2021 (tools/generate_gld_list.py of its repository), as
 * SQL over the metadata tables. gid is the class number: the row of the landmark in train_clean.csv, and after those the
 * other landmarks of train.csv in the order of their first appearance. The rowid of a metadata table counts its file's rows from 0.
 */

/** A landmark's category is its last one; its position is that of the first. */
const categoryOfLandmark = (table: string): string =>
  `select landmark_id, arg_max(category, rowid) as category, min(rowid) as pos from ${table} group by landmark_id`;

const cleanTables = [
  `create table clean_image as
   select rowid::integer as gid, unnest(string_split(images, ' ')) as image_id,
     generate_subscripts(string_split(images, ' '), 1) as n
   from train_clean`,
  `create table landmark as select landmark_id, rowid::integer as gid from train_clean`,
];

const fullTables = [
  `insert into landmark
   select landmark_id, ((select count(*) from train_clean) + row_number() over (order by first) - 1)::integer
   from (select t.landmark_id, min(t.rowid) as first from train t anti join train_clean c using (landmark_id) group by t.landmark_id)`,
];

const labelTables = [
  // Two landmarks of one category: the last wins.
  `create table category_label as
   select o.category, arg_max(l.gid, o.pos) as gid
   from (${categoryOfLandmark('train_category')}) o join landmark l using (landmark_id) group by o.category`,
  // Index images whose category is not in train are dropped. For a duplicate image the last row wins.
  `create table index_row as
   select i.pos, i.image_id, k.gid as label
   from (select id as image_id, arg_max(landmark_id, rowid) as landmark_id, min(rowid) as pos from index_landmark group by id) i
   join (${categoryOfLandmark('index_category')}) o using (landmark_id)
   join category_label k using (category)`,
];

const countryTables = [
  `create table label_category as
   select l.gid, o.category from landmark l join (${categoryOfLandmark('train_category')}) o using (landmark_id)`,
];

const noLabelTables = ['create table index_row (pos bigint, image_id varchar, label integer)'];

const truthTables = [
  `create table truth as
   select rowid as pos, id as query_id, "Usage" as usage, unnest(string_split(images, ' ')) as image_id,
     generate_subscripts(string_split(images, ' '), 1) as n
   from solution where "Usage" <> 'Ignored'`,
  'create table query_label (pos bigint, n integer, label integer)',
];

/** Creates the tables that the lists are selected from, as far as the loaded files allow. */
export async function makeListTables(database: Database, loaded: ReadonlySet<MetadataFileKey>): Promise<{ labelled: boolean }> {
  const labelled = labellingFiles.every((key) => loaded.has(key));
  const statements = [
    ...(loaded.has('trainClean') ? cleanTables : []),
    ...(loaded.has('trainClean') && loaded.has('train') ? fullTables : []),
    ...(labelled ? labelTables : noLabelTables),
    ...(loaded.has('trainClean') && loaded.has('trainCategory') ? countryTables : []),
    ...(loaded.has('solution') ? truthTables : []),
  ];
  for (const statement of statements) await database.run(statement);
  if (loaded.has('solution')) await makeQueryLabels(database);
  return { labelled };
}

/** Fills query_label: the distinct labels of each scored query's ground truths, `n` in the reference's order. */
async function makeQueryLabels(database: Database): Promise<void> {
  const labelsOf = new Map<number, number[]>();
  const truths = 'select t.pos, i.label from truth t join index_row i using (image_id) order by t.pos, t.n';
  for await (const rows of database.stream(truths)) {
    for (const { pos, label } of rows) {
      const labels = labelsOf.get(count(pos)) ?? [];
      if (labels.length === 0) labelsOf.set(count(pos), labels);
      labels.push(count(label));
    }
  }
  const rows = [...labelsOf].flatMap(([pos, labels]) => pythonSetOrder(labels).map((label, n) => [pos, n, label]));
  await database.append('query_label', rows);
}

const sampleOfTest = 20_000;

/** Rows of lists: image_id, `split` (the folder of the image), label and noisy, and `pos`, which gives their order. */
type RowBlock = {
  rows: string;
  /** Tables that are not needed after this. */
  lastUseOf?: readonly string[];
};

/** A table of consecutive blocks of rows, from which one or several lists are made. */
export type RowTable = {
  name: string;
  blocks: readonly RowBlock[];
  /** Whether its rows have their own continents, independent of countries. */
  hasContinents?: boolean;
};

const fullRows: RowBlock = {
  // An image is clean (noisy 0) if the cleaned file has it under this landmark.
  rows: `select t.rowid as pos, t.id as image_id, 'train' as split, l.gid as label,
           case when (l.gid, t.id) in (select (gid, image_id) from clean_image) then 0 else 1 end as noisy
         from train t join landmark l using (landmark_id)`,
  lastUseOf: ['train'],
};
const indexRows: RowBlock = { rows: `select pos, image_id, 'index' as split, label, 0 as noisy from index_row` };
const queryRows: RowBlock = {
  rows: `select pos, image_id, 'test' as split, label, 0 as noisy
         from (
           select row_number() over (order by s.rowid, q.n) as pos, s.id as image_id, coalesce(q.label, -1) as label
           from solution s left join query_label q on q.pos = s.rowid where s."Usage" = 'Ignored' or q.label is not null
         )`,
};
const sharedBlocks = [fullRows, indexRows, queryRows] as const;

const gallery = (images: string): RowBlock => ({
  rows: `select x.pos, x.id as image_id, 'index' as split, coalesce(i.label, -1) as label, 0 as noisy
         from (${images}) x left join index_row i on i.image_id = x.id`,
});

/** The competition's index images, then the ground truths missing from it, in the order of the queries and their images. */
const expandedIndex = `
  select rowid as pos, id from competition_index
  union all
  select (select count(*) from competition_index) + row_number() over (order by first), image_id
  from (select image_id, min((pos, n)) as first from truth group by image_id)
  where image_id not in (select id from competition_index)`;

/** The definition of a list: the rows in the first `blocks` of a table for which `where` holds. */
export type ListDefinition = { table: RowTable; blocks: number; where?: string };

/**
 * The definitions of the given lists. full, index_train and all begin with the same rows, of which c2x is a subset, so they share a table.
 * `seed` selects the sample of the list test. A query with several labels occurs in `all` once per label.
 */
export function defineLists(lists: readonly ListName[], options: { seed: number; cleanLandmarks: number }): Map<ListName, ListDefinition> {
  const { seed, cleanLandmarks } = options;
  const blocksOfShared: Partial<Record<ListName, number>> = { c2x: 1, full: 1, index_train: 2, all: 3 };
  const blocks = Math.max(0, ...lists.map((list) => blocksOfShared[list] ?? 0));
  const table: RowTable = { name: 'rows_shared', blocks: sharedBlocks.slice(0, blocks) };
  const shared = (list: ListName, where?: string): ListDefinition => ({
    table,
    blocks: blocksOfShared[list] ?? 0,
    ...(where ? { where } : {}),
  });
  const alone = (list: ListName, block: RowBlock): ListDefinition => ({ table: { name: `rows_of_${list}`, blocks: [block] }, blocks: 1 });
  const definitions: Record<ListName, ListDefinition> = {
    clean: alone('clean', {
      rows: `select rowid as pos, image_id, 'train' as split, gid as label, 0 as noisy from clean_image`,
    }),
    full: shared('full'),
    c2x: shared('c2x', `label < ${cleanLandmarks}`),
    index_train: shared('index_train'),
    // The first two index images of each label; a sample of these in an order that depends only on the seed and the ids.
    test: alone('test', {
      rows: `select pos, image_id, 'index' as split, label, 0 as noisy
             from (select image_id, label, row_number() over (order by md5(${literal(`${seed}:`)} || image_id), image_id) as pos
                   from (select *, row_number() over (partition by label order by pos) as nth from index_row) where nth <= 2)
             where pos <= ${sampleOfTest}`,
    }),
    all: shared('all'),
    // Each scored query once, with the label of its first ground truth that has one.
    query: alone('query', {
      rows: `select s.rowid as pos, s.id as image_id, 'test' as split, coalesce(k.label, -1) as label, 0 as noisy
             from solution s
             left join (select t.pos, arg_min(i.label, t.n) as label from truth t join index_row i using (image_id) group by t.pos) k on k.pos = s.rowid
             where s."Usage" <> 'Ignored'`,
    }),
    index: alone('index', gallery('select rowid as pos, id from index_image')),
    index_expand: alone('index_expand', gallery(expandedIndex)),
  };
  return new Map(lists.map((list) => [list, definitions[list]]));
}

/** SQL of a list's rows, unordered. */
export function rowsOf({ table, blocks, where = 'true' }: ListDefinition): string {
  const all = table.blocks.slice(0, blocks).map(({ rows }) => `select image_id, split, label, noisy from (${rows})`);
  return `select * from (${all.join(' union all ')}) where ${where}`;
}

/** The classes of a list's label space: the classes of a classifier trained on it, whether or not the list uses each. Null: no labels. */
export function classesOfList(list: ListName, labelled: boolean): string | null {
  if (searchLists.includes(list) && !labelled) return null;
  return list === 'clean' || list === 'c2x'
    ? 'select count(*) as n from train_clean'
    : 'select coalesce(max(gid) + 1, 0) as n from landmark';
}

/** CPython's Objects/setobject.c, unchanged since 3.7: the table grows fourfold from 8 slots, at three fifths load. */
const leastPlaces = 8;
const linearProbes = 9;
const perturbShift = 5;
const growsTwofoldAbove = 50_000;

/**
 * The order of CPython's `list(set(values))` for whole numbers from 0 to 2^31 - 1, which are their own hashes. The reference writes the
 * rows of a query with several labels in this order.
 */
export function pythonSetOrder(values: readonly number[]): number[] {
  let table: (number | undefined)[] = Array.from({ length: leastPlaces });
  let used = 0;
  for (const value of values) {
    const place = placeOf(table, value);
    if (table[place] === value) continue;
    table[place] = value;
    used += 1;
    if (used * 5 < (table.length - 1) * 3) continue;
    const grown = placesOver(used > growsTwofoldAbove ? used * 2 : used * 4);
    const before = table;
    table = Array.from({ length: grown });
    for (const moved of before) if (moved !== undefined) table[placeOf(table, moved)] = moved;
  }
  return table.filter((value) => value !== undefined);
}

function placesOver(used: number): number {
  let places = leastPlaces;
  while (places <= used) places *= 2;
  return places;
}

/** The slot of a value, or the first free slot for it: linear probes, each starting at a slot from the next bits of the hash. */
function placeOf(table: readonly (number | undefined)[], value: number): number {
  const mask = table.length - 1;
  let perturb = value;
  let start = value & mask;
  for (;;) {
    const run = start + linearProbes <= mask ? linearProbes : 0;
    for (let place = start; place <= start + run; place += 1) {
      if (table[place] === undefined || table[place] === value) return place;
    }
    perturb >>>= perturbShift;
    start = (start * 5 + 1 + perturb) & mask;
  }
}
