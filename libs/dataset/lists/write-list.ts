import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ListName } from '@cairn/contract';
import { fileDigest } from '../digests.ts';
import { count, type Database, literal, pathLiteral, text } from '../duckdb.ts';
import { memberPathSql } from '../folders.ts';
import { searchLists } from '../metadata/files.ts';
import type { ListDefinition, RowTable } from './definitions.ts';
import { listLabelSizes, listSamples } from './list-contents.ts';
import type { ListEntry, WrittenFile } from './manifest.ts';

/**
 * Writes `lists/NAME.parquet` under `root` in the list's order and counts it. `image_number` numbers its distinct images in the order of
 * first appearance, or of their places in the tars: extraction reads a shard, a range of these numbers.
 */
export async function writeList(
  database: Database,
  options: {
    list: ListName;
    definition: ListDefinition;
    classes: string | null;
    root: string;
    filePlaces: FilePlaces;
    /** The md5 of each tar by its path; null for images in folders. */
    tarMd5s: Readonly<Record<string, string>> | null;
    withText: boolean;
  },
  signal?: AbortSignal,
): Promise<ListEntry> {
  const { list, definition, classes, root, filePlaces, tarMd5s, withText } = options;
  const { table, blocks, where } = definition;
  const path = `lists/${list}.parquet`;
  const file = join(root, path);
  const conditions = [...(blocks < table.blocks.length ? [`block < ${blocks}`] : []), ...(where === undefined ? [] : [where])];
  const rows = conditions.join(' and ') || 'true';
  const number =
    filePlaces === 'tars'
      ? await numbersInTars(database, table.name, rows)
      : await imageNumbers(database, table.name, { where: rows, place: where === undefined ? 'rowid' : 'row_number() over () - 1' });
  await database.run(
    `copy (
       select image_id, path, label, noisy::integer as noisy, country, continent, ${number} as image_number${filePlaces === null ? '' : fileColumns[filePlaces]}
       from ${table.name} where ${rows}
     ) to ${literal(file)} ${parquet}`,
  );
  const missing = filePlaces === null ? 'null' : `count(*) filter (where ${missingRow[filePlaces]})`;
  const [counts] = await database.rows(
    `select count(*) as rows, coalesce(max(image_number) + 1, 0) as images, count(distinct label) filter (where label >= 0) as labels,
       count(*) filter (where noisy = 1) as noisy, count(*) filter (where label < 0) as unlabelled,
       ${missing} as missing
     from read_parquet(${pathLiteral(file)})`,
  );
  const examples =
    counts?.missing === 0 || filePlaces === null
      ? []
      : await database.rows(`select path from read_parquet(${pathLiteral(file)}) where ${missingRow[filePlaces]} limit ${maxExamples}`);
  const [space] = classes === null ? [] : await database.rows(classes);
  return {
    path,
    ...(await fileDigest(file, signal)),
    rows: count(counts?.rows),
    images: count(counts?.images),
    labels: count(counts?.labels),
    classes: space ? count(space.n) : null,
    noisy: count(counts?.noisy),
    unlabelled: count(counts?.unlabelled),
    missingImages: typeof counts?.missing === 'number' ? counts.missing : null,
    missingExamples: examples.map((row) => text(row.path)),
    labelSizes: await listLabelSizes(database, file),
    samples: await listSamples(database, file),
    imagesDigest: searchLists.includes(list) ? await imagesDigest(database, file) : null,
    tarsDigest: tarMd5s === null ? null : await tarsDigest(database, file, tarMd5s),
    text: withText ? await writeText(database, list, root, signal) : null,
  };
}

async function tarsDigest(database: Database, file: string, md5s: Readonly<Record<string, string>>): Promise<string> {
  const rows = await database.rows(`select distinct tar from read_parquet(${pathLiteral(file)}) where tar is not null order by tar`);
  const lines = rows.map(({ tar }) => `${text(tar)} ${md5s[text(tar)] ?? ''}\n`);
  return createHash('sha256').update(lines.join('')).digest('hex');
}

async function imagesDigest(database: Database, file: string): Promise<string> {
  const [row] = await database.rows(
    `select sha256(coalesce(string_agg(image_id || chr(10), '' order by image_id), '')) as digest
     from (select distinct image_id from read_parquet(${pathLiteral(file)}))`,
  );
  return text(row?.digest);
}

/** Writes `lists/NAME.csv`, without a header: path, label, noisy, and the continent or `null`. */
async function writeText(database: Database, list: ListName, root: string, signal?: AbortSignal): Promise<WrittenFile> {
  const path = `lists/${list}.csv`;
  const rows = `select path, label, noisy, coalesce(continent, 'null') from read_parquet(${pathLiteral(join(root, `lists/${list}.parquet`))})`;
  await database.run(`copy (${rows}) to ${literal(join(root, path))} (format csv, header false)`);
  return { path, ...(await fileDigest(join(root, path), signal)) };
}

/**
 * Parquet for every reader, with row groups that can be read separately. zstd level 1: ids hardly compress, and other levels are larger or
 * take twice as long. Dictionaries are for columns with few values.
 */
export const parquet = '(format parquet, compression zstd, compression_level 1, dictionary_size_limit 1000, row_group_size 122880)';

/** The file columns of a row: for tars the place in the tar, and for both the size and time of the file itself. */
type FilePlaces = 'tars' | 'folder' | null;

/** Whether a row's image was not found. */
const missingRow: Record<'tars' | 'folder', string> = { tars: 'tar is null', folder: 'file_bytes is null' };
const maxExamples = 10;

/** The columns of a row's file, in the order of the lists. */
const fileColumns: Record<'tars' | 'folder', string> = {
  tars: ', tar, "offset", size, file_bytes, file_changed_ms',
  folder: ', file_bytes, file_changed_ms',
};

const fileSql: Record<'tars' | 'folder', { select: string; join: string }> = {
  tars: {
    select: ', m.place.tar as tar, m.place."offset" as "offset", m.place.size as size, f.file_bytes, f.file_changed_ms',
    join: 'left join tar_place m on m.split = r.split and m.image_id = r.image_id left join file_now f on f.tar = m.place.tar',
  },
  folder: {
    select: ', f.file_bytes, f.file_changed_ms',
    join: 'left join image_now f on f.split = r.split and f.image_id = r.image_id',
  },
};

/**
 * Creates a table of rows in the reference's order, with `block`, the images' paths, countries, and places in tars, from which lists are
 * copied. Its rowid counts the rows from 0.
 */
export async function makeRowTable(
  database: Database,
  { name, blocks, hasContinents = false }: RowTable,
  files: FilePlaces,
): Promise<void> {
  const { select: place, join: places } = files === null ? { select: '', join: '' } : fileSql[files];
  const continent = hasContinents ? 'coalesce(r.continent, k.continent::varchar) as continent' : 'k.continent';
  for (const [number, { rows, lastUseOf = [] }] of blocks.entries()) {
    // Sorted before adding the paths, which are longer than all other columns.
    await database.run(
      `${number === 0 ? `create table ${name} as` : `insert into ${name}`}
       select ${number}::utinyint as block, image_id, split || '/' || ${memberPathSql('image_id')} as path, * exclude (pos, split, image_id)
       from (
         select r.pos, r.split, r.image_id, r.label::integer as label, r.noisy::utinyint as noisy, k.country, ${continent}${place}
         from (${rows}) r left join label_country k on k.gid = r.label ${places}
         order by r.pos
       )`,
    );
    for (const table of lastUseOf) await database.run(`drop table ${table}`);
  }
  await findRepeats(database, name);
}

/** Prepares {@link imageNumbers}: finds the rows of `table` whose image may also be in another row; usually few. */
async function findRepeats(database: Database, table: string): Promise<void> {
  // Hashes are shorter than ids. Hash collisions are resolved later.
  await database.run(
    `create table ${table}_repeat as
     select rowid as id_of_row, * from ${table}
     where hash(image_id) in (select hash(image_id) from ${table} group by all having count(*) > 1)`,
  );
  await database.run(`alter table ${table} add column number_before integer`);
}

/**
 * SQL that numbers the distinct images of the rows of `table` for which `where` holds, from 0 in the order of their places in the tars:
 * extraction reads a shard, a range of these numbers, as one run of a tar. In the order of the rows it would be scattered over all tars.
 * Images that are in no tar are the last.
 */
async function numbersInTars(database: Database, table: string, where: string): Promise<string> {
  await database.run(
    `update ${table} set number_before = found.number
     from (
       select rowid as id_of_row, (dense_rank() over (order by coalesce(tar, '~' || image_id), "offset") - 1)::integer as number
       from ${table} where ${where}
     ) found
     where ${table}.rowid = found.id_of_row`,
  );
  return 'number_before';
}

/**
 * SQL that numbers the distinct images of some rows of `table` from 0 in the order of first appearance: an expression to select with
 * exactly these rows, in their order.
 *
 * @param rows those for which `where` holds; `place` counts them from 0
 */
async function imageNumbers(database: Database, table: string, rows: { where: string; place: string }): Promise<string> {
  const { where, place } = rows;
  const repeats = `select image_id from ${table}_repeat where ${where} group by image_id having count(*) > 1`;
  const [repeated] = await database.rows(`select count(*) as n from (${repeats})`);
  if (count(repeated?.n) === 0) return `(${place})::integer`;
  await database.run(`update ${table} set number_before = null where number_before is not null`);
  await database.run(
    `update ${table} set number_before = number
     from (
       with listed as (select rowid as id_of_row, image_id, ${place} as place from ${table} where ${where}),
       maybe as (select *, min(place) over (partition by image_id) as first from listed where image_id in (${repeats})),
       repeated as (select * from maybe where place > first)
       select r.id_of_row, (r.first - coalesce(b.n, 0))::integer as number
       from repeated r asof left join (select place, row_number() over (order by place) as n from repeated) b on r.first > b.place
     ) found
     where ${table}.rowid = found.id_of_row`,
  );
  // A running count keeps the order of the rows, which a join does not guarantee.
  return `coalesce(number_before, ${place} - count(number_before) over (rows between unbounded preceding and current row))::integer`;
}
