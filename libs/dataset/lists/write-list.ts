import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ListName } from '@cairn/contract';
import { fileDigest } from '../digests.ts';
import { count, type Database, literal, pathLiteral, text } from '../duckdb.ts';
import { searchLists } from '../metadata/files.ts';
import type { ListDefinition } from './definitions.ts';
import { type FilePlaces, fileColumns, imageNumbers } from './make-row-table.ts';
import type { ListEntry, WrittenFile } from './manifest.ts';

/**
 * Writes `lists/NAME.parquet` under `root` in the list's order and counts it. `image_number` numbers its distinct images in the order of
 * first appearance: extraction finds the rows of a shard with the minimum and maximum of each row group.
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
  const number = await imageNumbers(database, table.name, {
    where: rows,
    place: where === undefined ? 'rowid' : 'row_number() over () - 1',
  });
  await database.run(
    `copy (
       select image_id, path, label, noisy::integer as noisy, country, continent, ${number} as image_number${filePlaces === null ? '' : fileColumns[filePlaces]}
       from ${table.name} where ${rows}
     ) to ${literal(file)} ${parquet}`,
  );
  const missing = filePlaces === null ? 'null' : `count(*) filter (where ${filePlaces === 'tars' ? 'tar' : 'file_bytes'} is null)`;
  const [counts] = await database.rows(
    `select count(*) as rows, coalesce(max(image_number) + 1, 0) as images, count(distinct label) filter (where label >= 0) as labels,
       count(*) filter (where noisy = 1) as noisy, count(*) filter (where label < 0) as unlabelled,
       ${missing} as missing
     from read_parquet(${pathLiteral(file)})`,
  );
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
