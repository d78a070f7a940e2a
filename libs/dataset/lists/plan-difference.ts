import { mkdtemp, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CairnError } from '@cairn/contract';
import { type Cell, count, type Database, literal, openDatabase, pathLiteral, text } from '../duckdb.ts';
import { parquet } from './write-list.ts';

export type PlanDifferenceOptions = {
  /** The list that is extracted. */
  list: string;
  /** The list of an earlier extraction by the same model and preprocessing. */
  earlierList: string;
  /** The files of its feature set: `metadata_NNNNN.parquet` and `rejected_NNNNN.parquet`. */
  metadata: readonly string[];
  rejected: readonly string[];
  /** Whether images that it rejected stay rejected, or are read again. */
  keepsRejected: boolean;
  /** The file to write. */
  out: string;
  /** Images of a shard, to find the shards that the earlier set has as they are. */
  shardRows?: number;
  signal?: AbortSignal;
};

export type Difference = {
  /** Distinct images of the list, and those of them that are known. */
  images: number;
  known: number;
  /** Images of the earlier list that the list does not have, and the first of them. */
  missing: number;
  firstMissing: string | null;
  /** The parts with features that are taken over: the first and the last image that is in each. */
  parts: { part: number; first: number; last: number }[];
  /** The shards of `shardRows` images whose features are the part of their number, with the digest of their ids (`proveShard`). */
  whole: { index: number; rows: number; idsSha256: string }[];
};

/** What makes an image the same file: where it is, its size, and the size and time of its file or tar. */
const fileColumns = { path: 'varchar', tar: 'varchar', offset: 'bigint', size: 'bigint', file_bytes: 'bigint', file_changed_ms: 'bigint' };

/**
 * Finds what an earlier feature set has of a list, and writes it as a row for each image that is known, in the order of the list:
 * image_number, image_id, and either the part and the row of its feature, or the reason why it was rejected. An image whose file is not
 * the same, or of whose file nothing is known, is not known.
 *
 * @throws CairnError `corrupt_artifact` for files that cannot be read as those of a feature set or a list
 */
export async function planDifference(options: PlanDifferenceOptions): Promise<Difference> {
  const { list, earlierList, metadata, rejected, keepsRejected, out, shardRows, signal } = options;
  // Next to the file, which is on a disk with room.
  const folder = await mkdtemp(`${dirname(out)}/difference-`);
  const database = await openDatabase({ folder, memoryLimitMiB: 1024, ...(signal ? { signal } : {}) });
  try {
    await loadImages(database, 'now', list);
    await loadImages(database, 'earlier', earlierList);
    await database.run('create table feature (image_id varchar, part integer, "row" bigint)');
    await database.run('create table reject (image_id varchar, reason varchar)');
    // The parts by their names: a row is a position in its part.
    const part = String.raw`regexp_extract(filename, '(\d+)\.parquet$', 1)::integer`;
    await loadFiles(metadata, (files) =>
      database.run(`insert into feature select image_id, ${part}, file_row_number
        from read_parquet(${files}, filename = true, file_row_number = true)`),
    );
    if (keepsRejected)
      await loadFiles(rejected, (files) => database.run(`insert into reject select image_id, reason from read_parquet(${files})`));
    const same = Object.keys(fileColumns)
      .map((name) => `n."${name}" is not distinct from e."${name}"`)
      .join(' and ');
    await database.run(
      `create table known as
       select n.image_number, n.image_id, f.part, f."row", r.reason
       from now n join earlier e on e.image_id = n.image_id and e.file_changed_ms is not null and ${same}
         left join feature f on f.image_id = n.image_id left join reject r on r.image_id = n.image_id
       where f.part is not null or r.reason is not null`,
    );
    await database.run(`copy (select * from known order by image_number) to ${literal(out)} ${parquet}`);
    return { ...(await readDifference(database)), whole: shardRows === undefined ? [] : await wholeShards(database, shardRows) };
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof CairnError) throw cause;
    const [line] = (cause instanceof Error ? cause.message : String(cause)).split('\n');
    throw new CairnError('corrupt_artifact', `The earlier features of ${list} cannot be read: ${line}`, { cause });
  } finally {
    database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function readDifference(database: Database): Promise<Omit<Difference, 'whole'>> {
  const [counts] = await database.rows('select (select count(*) from now) as images, (select count(*) from known) as known');
  const [missing] = await database.rows(
    'select count(*) as n, min(image_id) as first from earlier where image_id not in (select image_id from now)',
  );
  const parts = await database.rows(
    `select part, min(image_number) as first, max(image_number) as last from known where part is not null group by part order by part`,
  );
  const first: Cell = missing?.first ?? null;
  return {
    images: count(counts?.images),
    known: count(counts?.known),
    missing: count(missing?.n),
    firstMissing: first === null ? null : text(first),
    parts: parts.map((row) => ({ part: count(row.part), first: count(row.first), last: count(row.last) })),
  };
}

async function wholeShards(database: Database, shardRows: number): Promise<Difference['whole']> {
  const rows = await database.rows(
    `with shard as (
       select image_number // ${shardRows} as number, count(*) as n, sha256(string_agg(image_id || chr(10), '' order by image_number)) as ids,
         bool_and(coalesce(part = image_number // ${shardRows} and "row" = image_number % ${shardRows}, false)) as is_same
       from known group by 1),
     size as (select part, count(*) as n from feature group by part)
     select s.number, s.n, s.ids from shard s join size z on z.part = s.number and z.n = s.n
     where s.is_same and s.n = least(${shardRows}, (select count(*) from now) - s.number * ${shardRows}) order by s.number`,
  );
  return rows.map((row) => ({ index: count(row.number), rows: count(row.n), idsSha256: text(row.ids) }));
}

/** The table `name`: the distinct images of a list with their numbers and files, as `readListRows` numbers them. */
async function loadImages(database: Database, name: string, list: string): Promise<void> {
  const columns = new Set((await database.rows(`select name from parquet_schema(${pathLiteral(list)})`)).map((row) => row.name));
  const number = columns.has('image_number') ? 'min(image_number)' : 'row_number() over (order by min(file_row_number)) - 1';
  const files = Object.entries(fileColumns).map(
    ([column, type]) => `${columns.has(column) ? `any_value("${column}")` : 'null'}::${type} as "${column}"`,
  );
  await database.run(
    `create table ${name} as select image_id, ${number} as image_number, ${files.join(', ')}
     from read_parquet(${pathLiteral(list)}, file_row_number = true) group by image_id`,
  );
}

const filesAtATime = 500;

/** A statement has at most some hundred names. */
async function loadFiles(paths: readonly string[], load: (files: string) => Promise<void>): Promise<void> {
  for (let from = 0; from < paths.length; from += filesAtATime)
    await load(
      `[${paths
        .slice(from, from + filesAtATime)
        .map(pathLiteral)
        .join(', ')}]`,
    );
}
