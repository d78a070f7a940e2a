import type { Database } from '../duckdb.ts';
import { count } from '../duckdb.ts';

/** Prepares {@link imageNumbers}: finds the rows of `table` whose image may stand in another row too. Few do, if any. */
export async function findRepeats(database: Database, table: string): Promise<void> {
  // Hashes are shorter than ids. Two ids of one hash are told apart later.
  await database.run(
    `create table ${table}_repeat as
     select rowid as id_of_row, * from ${table}
     where hash(image_id) in (select hash(image_id) from ${table} group by all having count(*) > 1)`,
  );
  await database.run(`alter table ${table} add column number_before integer`);
}

/**
 * SQL that numbers the distinct images of some rows of `table` from 0 in the order of first appearance: an expression to select beside
 * those very rows, alone and in their order.
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
  // A running count keeps the rows' order; a join would not promise it.
  return `coalesce(number_before, ${place} - count(number_before) over (rows between unbounded preceding and current row))::integer`;
}
