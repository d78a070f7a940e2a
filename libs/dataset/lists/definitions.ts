import type { ListName } from '@cairn/contract';
import type { Database } from '../duckdb.ts';
import { literal } from '../duckdb.ts';
import type { MetadataFileKey } from '../metadata/files.ts';
import { labellingFiles } from '../metadata/files.ts';

/**
 * The lists of the 2nd place solution to Google Landmark Retrieval 2021 (tools/generate_gld_list.py of its repository), as
 * SQL over the metadata tables. gid is the class number: the row of the landmark in train_clean.csv, and after those the
 * other landmarks of train.csv in the order of their first appearance.
 */

/** A landmark's own category is the last one given for it; its place is that of the first. */
const ofLandmark = (table: string): string =>
  `select landmark_id, arg_max(category, pos) as category, min(pos) as pos from ${table} group by landmark_id`;

const cleanTables = [
  `create table clean_image as
   select (pos - 1)::integer as gid, unnest(string_split(images, ' ')) as image_id,
     generate_subscripts(string_split(images, ' '), 1) as n
   from train_clean`,
  `create table landmark as select landmark_id, (pos - 1)::integer as gid from train_clean`,
];

const fullTables = [
  `insert into landmark
   select landmark_id, ((select count(*) from train_clean) + row_number() over (order by first) - 1)::integer
   from (select t.landmark_id, min(t.pos) as first from train t anti join train_clean c using (landmark_id) group by t.landmark_id)`,
  // An image is right (noisy 0) when the cleaned file has it under this very landmark.
  `create table full_row as
   select t.pos, t.id as image_id, l.gid as label, case when c.image_id is null then 1 else 0 end as noisy
   from train t
   join landmark l using (landmark_id)
   left join (select distinct gid, image_id from clean_image) c on c.gid = l.gid and c.image_id = t.id`,
];

const labelTables = [
  // Two landmarks of one category: the last wins.
  `create table category_label as
   select o.category, arg_max(l.gid, o.pos) as gid
   from (${ofLandmark('train_category')}) o join landmark l using (landmark_id) group by o.category`,
  // Index images whose category no train landmark has are dropped. An image that stands twice: the last row wins.
  `create table index_row as
   select i.pos, i.image_id, k.gid as label
   from (select id as image_id, arg_max(landmark_id, pos) as landmark_id, min(pos) as pos from index_landmark group by id) i
   join (${ofLandmark('index_category')}) o using (landmark_id)
   join category_label k using (category)`,
];

const countryTables = [
  `create table label_category as select l.gid, o.category from landmark l join (${ofLandmark('train_category')}) o using (landmark_id)`,
];

const noLabelTables = ['create table index_row (pos bigint, image_id varchar, label integer)'];

const truthTables = [
  `create table truth as
   select pos, id as query_id, "Usage" as usage, unnest(string_split(images, ' ')) as image_id,
     generate_subscripts(string_split(images, ' '), 1) as n
   from solution where "Usage" <> 'Ignored'`,
];

const noCountryTables = ['create table label_country (gid integer, country varchar, continent varchar)'];

/** Makes the tables that the lists are selected from, as far as the loaded files allow. */
export async function makeListTables(database: Database, loaded: ReadonlySet<MetadataFileKey>): Promise<{ labelled: boolean }> {
  const labelled = labellingFiles.every((key) => loaded.has(key));
  const statements = [
    ...(loaded.has('trainClean') ? cleanTables : []),
    ...(loaded.has('trainClean') && loaded.has('train') ? fullTables : []),
    ...(labelled ? labelTables : noLabelTables),
    ...(loaded.has('trainClean') && loaded.has('trainCategory') ? countryTables : []),
    ...(loaded.has('solution') ? truthTables : []),
    ...noCountryTables,
  ];
  for (const statement of statements) await database.run(statement);
  return { labelled };
}

const sampleOfTest = 20_000;

const fullRows = `select 0 as block, pos, 0 as sub, image_id, 'train' as split, label, noisy from full_row`;
const indexTrainRows = `${fullRows} union all select 1, pos, 0, image_id, 'index', label, 0 from index_row`;

/**
 * The rows of each list: `block`, `pos`, `sub` give their order, `split` the folder of the image. `seed` picks the sample of
 * the list test. A query with several labels stands in `all` once for each, by rising label.
 */
export function rowsOfList(list: ListName, seed: number): string {
  const definitions: Record<ListName, string> = {
    clean: `select 0 as block, gid as pos, n as sub, image_id, 'train' as split, gid as label, 0 as noisy from clean_image`,
    full: fullRows,
    c2x: `${fullRows} where label < (select count(*) from train_clean)`,
    index_train: indexTrainRows,
    // At most two index images a label, the first ones; of these a sample in an order that only the seed and the ids decide.
    test: `select 0 as block, place as pos, 0 as sub, image_id, 'index' as split, label, 0 as noisy
           from (select image_id, label, row_number() over (order by md5(${literal(`${seed}:`)} || image_id), image_id) as place
                 from (select *, row_number() over (partition by label order by pos) as nth from index_row) where nth <= 2)
           where place <= ${sampleOfTest}`,
    all: `${indexTrainRows}
          union all select 2, pos, 0, id, 'test', -1, 0 from solution where "Usage" = 'Ignored'
          union all select 2, pos, label, query_id, 'test', label, 0
            from (select distinct t.pos, t.query_id, i.label from truth t join index_row i using (image_id))`,
    // Each scored query once, with the label of its first ground truth that has one.
    query: `select 0 as block, s.pos, 0 as sub, s.id as image_id, 'test' as split, coalesce(k.label, -1) as label, 0 as noisy
            from solution s
            left join (select t.pos, arg_min(i.label, t.n) as label from truth t join index_row i using (image_id) group by t.pos) k using (pos)
            where s."Usage" <> 'Ignored'`,
    index: `select 0 as block, x.pos, 0 as sub, x.id as image_id, 'index' as split, coalesce(i.label, -1) as label, 0 as noisy
            from index_image x left join index_row i on i.image_id = x.id`,
  };
  return definitions[list];
}

/** The classes of a list's label space: what a classifier trained on it must have, whether or not the list uses each. */
export function classesOfList(list: ListName): string {
  return list === 'clean' || list === 'c2x'
    ? 'select count(*) as n from train_clean'
    : 'select coalesce(max(gid) + 1, 0) as n from landmark';
}
