import { join } from 'node:path';
import type { ListName } from '@cairn/contract';
import { fileDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import { count, literal, pathLiteral } from '../duckdb.ts';
import { classesOfList, rowsOfList } from './definitions.ts';
import type { GroundTruthEntry, ListEntry } from './manifest.ts';

/** Parquet as every reader takes it; pieces of this many rows can be read alone. */
const parquet = '(format parquet, compression zstd, row_group_size 122880)';

/**
 * Writes `lists/NAME.parquet` under `root` in the list's order and counts it. `image_number` counts its distinct images in the
 * order of first appearance: who extracts a shard finds its rows by the row groups' least and greatest numbers.
 */
export async function writeList(
  database: Database,
  options: { list: ListName; testSeed: number; root: string; hasTars: boolean; labelled: boolean },
  signal?: AbortSignal,
): Promise<ListEntry> {
  const { list, testSeed, root, hasTars, labelled } = options;
  const path = `lists/${list}.parquet`;
  const file = join(root, path);
  const place = hasTars ? ', m.place.tar as tar, m.place."offset" as "offset", m.place.size as size' : '';
  const places = hasTars ? 'left join tar_place m on m.split = r.split and m.image_id = r.image_id' : '';
  const id = 'r.image_id';
  await database.run(
    `copy (
       with ordered as (select *, row_number() over (order by block, pos, sub) as place_in_list from (${rowsOfList(list, testSeed)})),
       image as (
         select image_id, (row_number() over (order by min(place_in_list)) - 1)::integer as image_number from ordered group by image_id
       )
       select r.image_id,
         r.split || '/' || ${id}[1] || '/' || ${id}[2] || '/' || ${id}[3] || '/' || ${id} || '.jpg' as path,
         r.label::integer as label, r.noisy::integer as noisy, k.country, k.continent, i.image_number${place}
       from ordered r
       join image i using (image_id)
       left join label_country k on k.gid = r.label
       ${places}
       order by r.place_in_list
     ) to ${literal(file)} ${parquet}`,
  );
  const [counts] = await database.rows(
    `select count(*) as rows, coalesce(max(image_number) + 1, 0) as images, count(distinct label) filter (where label >= 0) as labels,
       count(*) filter (where noisy = 1) as noisy, count(*) filter (where label < 0) as unlabelled,
       ${hasTars ? 'count(*) filter (where tar is null)' : 'null'} as missing
     from read_parquet(${pathLiteral(file)})`,
  );
  // Queries and the gallery can be listed without any labels; the other lists cannot.
  const [classes] = labelled || (list !== 'query' && list !== 'index') ? await database.rows(classesOfList(list)) : [];
  const missing = counts?.missing;
  return {
    path,
    ...(await fileDigest(file, signal)),
    rows: count(counts?.rows),
    images: count(counts?.images),
    labels: count(counts?.labels),
    classes: classes ? count(classes.n) : null,
    noisy: count(counts?.noisy),
    unlabelled: count(counts?.unlabelled),
    missingImages: typeof missing === 'number' ? missing : null,
  };
}

/** Writes `lists/ground_truth.parquet` under `root`: one row per scored query and ground-truth image, in file order. */
export async function writeGroundTruth(
  database: Database,
  root: string,
  hasIndex: boolean,
  signal?: AbortSignal,
): Promise<GroundTruthEntry> {
  const path = 'lists/ground_truth.parquet';
  const file = join(root, path);
  // An image that is named twice for a query counts once.
  await database.run(
    `copy (select query_id, image_id, usage from (select pos, min(n) as n, query_id, image_id, usage from truth group by all) order by pos, n)
     to ${literal(file)} ${parquet}`,
  );
  const outside = hasIndex ? 'count(*) filter (where image_id not in (select id from index_image))' : 'null';
  const [counts] = await database.rows(
    `select count(*) as rows, count(distinct query_id) as queries, ${outside} as outside from read_parquet(${pathLiteral(file)})`,
  );
  const notInIndex = counts?.outside;
  return {
    path,
    ...(await fileDigest(file, signal)),
    rows: count(counts?.rows),
    queries: count(counts?.queries),
    notInIndex: typeof notInIndex === 'number' ? notInIndex : null,
  };
}
