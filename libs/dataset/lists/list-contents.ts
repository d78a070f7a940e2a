import { type LabelSizes, type ListSample, labelSizesOf, mostLargest, mostSamples } from '@cairn/contract';
import { count, type Database, pathLiteral, text } from '../duckdb.ts';

/** Rows that are looked at for {@link listSamples}: an image may have several, with the same hash. */
const sampledRows = 8 * mostSamples;

/** How many rows each label of a written list has; null for a list without labels. */
export async function listLabelSizes(database: Database, file: string): Promise<LabelSizes | null> {
  const labels = `select label, count(*) as n from read_parquet(${pathLiteral(file)}) where label >= 0 group by label`;
  const counts = await database.rows(`select n as rows, count(*) as labels from (${labels}) group by n order by n`);
  const largest = await database.rows(`select label, n as rows from (${labels}) order by n desc, label limit ${mostLargest}`);
  return labelSizesOf(
    counts.map((row) => ({ rows: count(row.rows), labels: count(row.labels) })),
    largest.map((row) => ({ label: count(row.label), rows: count(row.rows) })),
  );
}

/** Images of a written list to look at, in the order of a hash of their ids. */
export async function listSamples(database: Database, file: string): Promise<ListSample[]> {
  const rows = await database.rows(
    `select image_id, label from read_parquet(${pathLiteral(file)}) order by md5(image_id), label limit ${sampledRows}`,
  );
  const samples = new Map<string, ListSample>();
  for (const row of rows) {
    const imageId = text(row.image_id);
    const label = count(row.label);
    if (!samples.has(imageId)) samples.set(imageId, { imageId, label: label < 0 ? null : label });
  }
  return [...samples.values()].slice(0, mostSamples);
}
