import type { Database } from '../duckdb.ts';
import { memberPathSql } from '../image-path.ts';
import type { RowTable } from './definitions.ts';
import { findRepeats } from './number-images.ts';

/** What of an image's file stands in its row: of tars its place there, and in both the size and time of the file itself. */
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
 * Makes a table of rows in the reference's order, with `block`, the images' paths, countries, and places in tars: what lists are copied
 * from. Its rowid counts the rows from 0.
 */
export async function makeRowTable(
  database: Database,
  { name, blocks, hasContinents = false }: RowTable,
  files: FilePlaces,
): Promise<void> {
  const { select: place, join: places } = files === null ? { select: '', join: '' } : fileSql[files];
  const continent = hasContinents ? 'coalesce(r.continent, k.continent::varchar) as continent' : 'k.continent';
  for (const [number, { rows, lastUseOf = [] }] of blocks.entries()) {
    // Sorted before the paths are made, which are longer than all the rest.
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
