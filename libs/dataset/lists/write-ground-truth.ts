import { join } from 'node:path';
import { fileDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import { count, literal, pathLiteral } from '../duckdb.ts';
import type { GroundTruthEntry } from './manifest.ts';
import { parquet } from './parquet.ts';

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
