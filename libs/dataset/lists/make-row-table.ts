import type { Database } from '../duckdb.ts';
import type { RowTable } from './definitions.ts';

/**
 * Makes a table of rows in the reference's order, with countries and places in tars. Its rowid counts the rows from 0; a row whose
 * image stood before has `earlier_number`, that image's number.
 */
export async function makeRowTable(database: Database, { name, rows }: RowTable, hasTars: boolean): Promise<void> {
  const place = hasTars ? ', m.place.tar as tar, m.place."offset" as "offset", m.place.size as size' : '';
  const places = hasTars ? 'left join tar_place m on m.split = r.split and m.image_id = r.image_id' : '';
  await database.run(
    `create table ${name} as
     select r.block, r.image_id, r.split, r.label::integer as label, r.noisy::integer as noisy, k.country, k.continent,
       null::integer as earlier_number${place}
     from (${rows}) r left join label_country k on k.gid = r.label ${places}
     order by r.block, r.pos, r.sub`,
  );
  // Few ids repeat, if any: hashes, which are short, tell which may.
  await database.run(
    `create table ${name}_repeat as
     with maybe as (
       select rowid as place, image_id from ${name}
       where hash(image_id) in (select hash(image_id) from ${name} group by all having count(*) > 1)
     ),
     repeat as (
       select * from (select place, min(place) over (partition by image_id) as first from maybe) where place > first
     )
     select r.place, r.first - coalesce(b.n, 0) as image_number
     from repeat r asof left join (select place, row_number() over (order by place) as n from repeat) b on r.first > b.place`,
  );
  await database.run(`update ${name} set earlier_number = r.image_number from ${name}_repeat r where ${name}.rowid = r.place`);
}
