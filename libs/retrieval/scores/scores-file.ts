import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, continent, type QueryScore, scoredUsage } from '@cairn/contract';
import { wholeFile, writeWhole } from '../files/whole-file.ts';
import { columnNames, type Parquet } from '../parquet/open-parquet.ts';
import type { Gallery } from '../search/neighbours-file.ts';

export const metricsName = 'metrics.json';
export const perQueryName = 'per_query.parquet';

/** The columns of `per_query.parquet`: {@link QueryScore}, a row for each. */
const columns = {
  query_id: 'text',
  usage: 'text',
  continent: 'text',
  ap_kaggle: 'double',
  ap_reference: 'double',
  ground_truths: 'integer',
  hits: 'integer',
  first_hit: 'integer',
  first_wrong_rank: 'integer',
  first_wrong_image: 'text',
  hits_at_1: 'integer',
  hits_at_5: 'integer',
  hits_at_10: 'integer',
  hits_at_20: 'integer',
  hits_at_100: 'integer',
  hits_at_all: 'integer',
} as const;

/** What files of earlier releases lack. */
const isRecent = (column: string): boolean => column === 'continent' || column.startsWith('hits_at_');
const hitColumns = [1, 5, 10, 20, 100, 'all'] as const;

/** Scores by query with what they depend on, which is in the file's metadata. */
export type ScoredQueries = {
  queries: readonly QueryScore[];
  /** The gallery that was searched; null if it is not known, as of a submission. */
  gallery: Gallery | null;
  /** Of the queries and their ground truths. */
  groundTruthDigest: string;
};

/** Writes `per_query.parquet` and `metrics.json` into a folder. Throws `storage_full`. */
export async function writeScores(
  parquet: Parquet,
  { out, metrics, scores }: { out: string; metrics: object; scores: ScoredQueries },
  signal?: AbortSignal,
): Promise<void> {
  const { gallery, groundTruthDigest, queries } = scores;
  const rows = queries.map((score) => [
    score.queryId,
    score.usage,
    score.continent,
    score.averagePrecision,
    score.averagePrecisionReference,
    score.groundTruths,
    score.hits,
    score.firstHit,
    score.firstWrong?.rank ?? null,
    score.firstWrong?.imageId ?? null,
    ...hitColumns.map((k) => score.hitsAt?.[k] ?? null),
  ]);
  const ofGallery = gallery === null ? {} : { galleryDigest: gallery.digest, galleryRows: String(gallery.rows) };
  const metadata = { ...ofGallery, groundTruthDigest };
  await wholeFile(join(out, perQueryName), (path) => parquet.write({ path, columns, rows, metadata }, signal));
  await writeWhole(join(out, metricsName), `${JSON.stringify(metrics, null, 2)}\n`);
}

/**
 * Reads `per_query.parquet`, the file or its folder. Throws `missing_file` if it does not exist, `corrupt_artifact` if it is invalid, or a
 * query is duplicate.
 */
export async function readScores(parquet: Parquet, given: string, signal?: AbortSignal): Promise<ScoredQueries> {
  const path = given.endsWith('.parquet') ? given : join(given, perQueryName);
  await stat(path).catch((cause: unknown) => {
    throw new CairnError('missing_file', `${path} does not exist`, {
      cause,
      details: { remedy: 'Score the result first: `cairn evaluate`, `cairn search --solution` and `cairn score --out` write it.' },
    });
  });
  const written = await columnNames(parquet, path, signal);
  const selected = Object.keys(columns).map((name) => (isRecent(name) && !written.has(name) ? `null as ${name}` : name));
  const sql = `select ${selected.join(', ')} from read_parquet($path, file_row_number = true) order by file_row_number`;
  const table = await parquet.query({ path, sql }, signal);
  const [usages, kaggle, reference] = [table.text('usage'), table.number('ap_kaggle'), table.numberOrNull('ap_reference')];
  const [truths, hits, firstHits] = [table.integer('ground_truths'), table.integer('hits'), table.integerOrNull('first_hit')];
  const [wrongRanks, wrongImages] = [table.integerOrNull('first_wrong_rank'), table.textOrNull('first_wrong_image')];
  const places = table.textOrNull('continent');
  const hitsAt = hitColumns.map((k) => table.integerOrNull(`hits_at_${k}`));
  const seen = new Set<string>();
  const queries = table.text('query_id').map((queryId, row): QueryScore => {
    const usage = scoredUsage.safeParse(usages[row]).data;
    if (usage === undefined || seen.has(queryId)) {
      throw new CairnError('corrupt_artifact', `${path}: row ${row + 1} is not the only result of a scored query. Score it again.`);
    }
    seen.add(queryId);
    const [rank, imageId] = [wrongRanks[row] ?? null, wrongImages[row] ?? null];
    return {
      queryId,
      usage,
      continent: continent.safeParse(places[row]).data ?? null,
      averagePrecision: kaggle[row] ?? 0,
      averagePrecisionReference: reference[row] ?? null,
      groundTruths: truths[row] ?? 0,
      hits: hits[row] ?? 0,
      firstHit: firstHits[row] ?? null,
      firstWrong: rank === null || imageId === null ? null : { rank, imageId },
      hitsAt: hitsOf(hitsAt.map((column) => column[row] ?? null)),
    };
  });
  const metadata = await parquet.metadata(path, signal);
  const [digest, groundTruthDigest] = [metadata.get('galleryDigest'), metadata.get('groundTruthDigest')];
  if (groundTruthDigest === undefined)
    throw new CairnError('corrupt_artifact', `${path} does not say which queries and ground truths it is of. Score it again.`);
  return { queries, gallery: digest === undefined ? null : { digest, rows: Number(metadata.get('galleryRows')) }, groundTruthDigest };
}

/** Cells in the order of `hitColumns`. */
function hitsOf([one, five, ten, twenty, hundred, all]: readonly (number | null)[]): QueryScore['hitsAt'] {
  if (all == null) return null;
  return { 1: one ?? 0, 5: five ?? 0, 10: ten ?? 0, 20: twenty ?? 0, 100: hundred ?? 0, all };
}
