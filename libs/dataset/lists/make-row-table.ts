import { count, type Database } from '../duckdb.ts';
import { memberPathSql } from '../image-path.ts';
import type { RowTable } from './definitions.ts';

/** The file columns of a row: for tars the place in the tar, and for both the size and time of the file itself. */
export type FilePlaces = 'tars' | 'folder' | null;

/** The columns of a row's file, in the order of the lists. */
export const fileColumns: Record<'tars' | 'folder', string> = {
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
 * SQL that numbers the distinct images of some rows of `table` from 0 in the order of first appearance: an expression to select with
 * exactly these rows, in their order.
 *
 * @param rows those for which `where` holds; `place` counts them from 0
 */
export async function imageNumbers(database: Database, table: string, rows: { where: string; place: string }): Promise<string> {
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
