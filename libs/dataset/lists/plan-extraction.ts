import { mkdtemp, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CairnError } from '@cairn/contract';
import { count, type Database, literal, openDatabase, pathLiteral, text } from '../duckdb.ts';
import { createFileGate, type FileGate } from '../file-gate.ts';
import { type ImageSplit, imageIdPattern, imageSplits, memberPathSql, requireFolder } from '../folders.ts';
import { decoded, textLines } from '../metadata/text-lines.ts';
import { splitsOfSource } from '../tars/index-tars.ts';
import { loadImageFiles, offsetOfPlace, placeKey, readTars, tarOfPlace } from './load-tables.ts';
import type { ImageRoot } from './manifest.ts';
import { parquet } from './write-list.ts';

export type PlanExtractionOptions = {
  /** A Parquet file with a column image_id, or a text file with an id in each line. */
  list: string;
  source: ImageRoot;
  /** Addresses that may be read, with the settings of their storage; null: any. */
  places: readonly string[] | null;
  /** The file to write. */
  out: string;
  signal?: AbortSignal;
};

/**
 * Writes the list of an extraction, for a list that need not be of this source's preparation: finds each id in the source and numbers the
 * images in the order in which they are read. It has the columns of a list of `prepareLists`, with the label -1.
 *
 * @throws CairnError `missing_file` for a list or a source that does not exist, `bad_row` naming ids that are invalid or not in the source,
 *   `empty_list`; as reading the source does
 */
export async function planExtraction({ list, source, places, out, signal }: PlanExtractionOptions): Promise<{ images: number }> {
  const gate = await createFileGate(places);
  // Next to the file, which is on a disk with room.
  const folder = await mkdtemp(`${dirname(out)}/planning-`);
  const database = await openDatabase({ folder, memoryLimitMiB: 512, ...(signal ? { signal } : {}) });
  try {
    await requireFolder('The source', source.root, gate);
    await loadIds(database, list, signal);
    const splits = await splitsOfSource(source, gate);
    const columns = await loadPlaces(database, { list, source, splits, gate, signal });
    // The rows of the table are in order, and stay so: nothing is sorted again.
    await database.run(
      `copy (
         select image_id, split || '/' || ${memberPathSql('image_id')} as path, -1 as label, 0 as noisy, null::varchar as country,
           null::varchar as continent, rowid::integer as image_number, ${columns.join(', ')}
         from placed
       ) to ${literal(out)} ${parquet}`,
    );
    const [rows] = await database.rows('select count(*) as images from placed');
    return { images: count(rows?.images) };
  } finally {
    database.close();
    gate.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The table given: the ids of the list with their rows or lines. */
async function loadIds(database: Database, list: string, signal?: AbortSignal): Promise<void> {
  await database.run('create table given (image_id varchar, pos bigint)');
  try {
    if (list.endsWith('.parquet')) {
      await database.run(
        `insert into given select image_id, file_row_number from read_parquet(${pathLiteral(list)}, file_row_number = true)`,
      );
    } else {
      await loadLines(database, list, signal);
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CairnError) throw error;
    const message = `The list ${list} cannot be read: use a Parquet file with a column image_id, or a text file with an id in each line`;
    throw new CairnError('missing_file', message, { details: { file: list }, cause: error });
  }
  const [ids] = await database.rows('select count(*) as n from given');
  if (count(ids?.n) === 0) throw new CairnError('empty_list', `The list ${list} has no ids`, { details: { list } });
}

/** The table listed: the distinct ids, each with its first row or line. */
async function distinctIds(database: Database, list: string): Promise<void> {
  const [bad] = await database.rows(
    `select image_id, pos from given where not regexp_full_match(coalesce(image_id, ''), ${literal(imageIdPattern.source.slice(1, -1))}) order by pos limit 1`,
  );
  const unit = list.endsWith('.parquet') ? 'row' : 'line';
  if (bad !== undefined) {
    const message = `${list}, ${unit} ${count(bad.pos)}: expected an image id, 3 to 64 letters, digits, dashes or underscores`;
    throw new CairnError('bad_row', message, { details: { file: list, [unit]: count(bad.pos) } });
  }
  await database.run('create table listed as select image_id, min(pos) as pos from given group by image_id');
  await database.run('drop table given');
}

const linesAtATime = 20_000;

async function loadLines(database: Database, list: string, signal?: AbortSignal): Promise<void> {
  let rows: [string, number][] = [];
  for await (const line of textLines(list, signal)) {
    const id = decoded(line)?.trim() ?? '';
    if (id === '') continue;
    rows.push([id, line.number]);
    if (rows.length < linesAtATime) continue;
    await database.append('given', rows);
    rows = [];
  }
  await database.append('given', rows);
}

type Placing = { list: string; source: ImageRoot; splits: readonly ImageSplit[]; gate: FileGate; signal: AbortSignal | undefined };

/**
 * The table placed: each listed image that the source has, once, in the order in which they are read; of several splits with it the first
 * counts. Returns the further columns of the list.
 */
async function loadPlaces(database: Database, { list, source, splits, gate, signal }: Placing): Promise<string[]> {
  if (source.kind === 'tars') {
    await readTars(database, source.root, splits, { gate, signal, withMd5: false });
    const columns = await placesInTars(database, list);
    await requireAll(database, list, source);
    return columns;
  }
  await distinctIds(database, list);
  await loadImageFiles(database, source.root, splits, { gate, signal });
  // Of several splits with an image the first counts.
  await database.run(
    `create table placed as
     select l.image_id, s.split, s.file_bytes, s.file_changed_ms from listed l join image_now s using (image_id)
     qualify row_number() over (partition by l.image_id order by ${rankOf('s.split')}) = 1 order by l.pos`,
  );
  await requireAll(database, list, source);
  return ['file_bytes', 'file_changed_ms'];
}

const rankOf = (split: string): string => `list_position([${imageSplits.map(literal).join(', ')}], ${split})`;

/** Numbers instead of names and structs, and one sort of narrow rows: 4.9 million images are planned in seconds. */
async function placesInTars(database: Database, list: string): Promise<string[]> {
  const tars = await database.rows('select * from file_now order by tar_number');
  const ofTar = (values: string[]): string => `[${values.join(', ')}][${tarOfPlace('key')} + 1]`;
  if (!(await placeEachOnce(database))) {
    await distinctIds(database, list);
    await placeFirst(
      database,
      tars.map((tar) => text(tar.split)),
    );
  }
  const splitOf = ofTar(tars.map((tar) => literal(text(tar.split))));
  await database.run(`create view placed as select rowid, image_id, ${splitOf} as split, key, size from ordered`);
  return [
    `${ofTar(tars.map((tar) => literal(text(tar.tar))))} as tar`,
    `${offsetOfPlace('key')} as "offset"`,
    'size',
    `${ofTar(tars.map((tar) => `${count(tar.file_bytes)}::bigint`))} as file_bytes`,
    `${ofTar(tars.map((tar) => `${count(tar.file_changed_ms)}::bigint`))} as file_changed_ms`,
  ];
}

/**
 * The table ordered, where each id is listed once and in one tar: then nothing needs grouping, which takes as long as the join. Returns
 * whether that is so; otherwise nothing was changed.
 */
async function placeEachOnce(database: Database): Promise<boolean> {
  await database.run(
    `create table found as
     select g.rowid as listed, m.rowid as member, m.image_id, ${placeKey} as key, size from tar_member m join given g using (image_id)`,
  );
  const [all] = await database.rows('select (select count(*) from given) as listed, (select count(*) from tar_member) as members');
  const [listed, members] = [count(all?.listed), count(all?.members)];
  const [counts] = await database.rows(
    `select count(*) as found, bit_count(bitstring_agg(listed, 0, ${listed})) as ids, bit_count(bitstring_agg(member, 0, ${members})) as places
     from found`,
  );
  const isOnce = counts?.found === listed && counts.ids === listed && counts.places === listed;
  if (isOnce) {
    await database.run('create table ordered as select image_id, key, size from found order by key');
    await database.run('drop table tar_member');
    await database.run('alter table given rename to listed');
  }
  await database.run('drop table found');
  return isOnce;
}

/** The table ordered, of any list: of several places of an id the one in the first split counts, and in it the last, as when unpacking. */
async function placeFirst(database: Database, splitOfTar: readonly string[]): Promise<void> {
  const rank = new Map<string, number>(imageSplits.map((split, at) => [split, imageSplits.length - at]));
  const ranks = `[${splitOfTar.map((split) => rank.get(split) ?? 0).join(', ')}]`;
  await database.run(
    `create table placed_often as
     select l.rowid as listed, image_id, (${ranks}[tar_number + 1]::bigint << 60) | ${placeKey} as ranked, size
     from tar_member join listed l using (image_id)`,
  );
  await database.run('drop table tar_member');
  await database.run(
    `create table ordered as
     select any_value(image_id) as image_id, max(ranked) & ${(1n << 60n) - 1n} as key, arg_max(size, ranked) as size
     from placed_often group by listed order by key`,
  );
  await database.run('drop table placed_often');
}

const mostNamed = 5;

async function requireAll(database: Database, list: string, { root }: ImageRoot): Promise<void> {
  const [counts] = await database.rows('select (select count(*) from listed) as listed, (select count(*) from placed) as placed');
  if (counts?.listed === counts?.placed) return;
  const unknown = await database.rows(
    `select image_id, pos, count(*) over () as n from listed where image_id not in (select image_id from placed) order by pos limit ${mostNamed}`,
  );
  const [first] = unknown;
  if (first === undefined) return;
  const total = count(first.n);
  const ids = unknown.map((row) => text(row.image_id));
  const more = total > ids.length ? ` and ${total - ids.length} more` : '';
  const where = `${list}, ${list.endsWith('.parquet') ? 'row' : 'line'} ${count(first.pos)}`;
  const message = `${where}: ${root} has no image ${ids.join(', ')}${more} in train/, index/ or test/. Correct the list, or the source`;
  throw new CairnError('bad_row', message, { details: { file: list, images: ids, unknown: total } });
}
