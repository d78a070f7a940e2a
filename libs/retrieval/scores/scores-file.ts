import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { wholeFile, writeWhole } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import type { QueryScore, ScoreMetrics } from './score-predictions.ts';

export const metricsName = 'metrics.json';
export const perQueryName = 'per_query.parquet';

/** Writes `metrics.json` and `per_query.parquet` into a folder. Throws `storage_full`. */
export async function writeScores(
  parquet: Parquet,
  { out, metrics, perQuery }: { out: string; metrics: ScoreMetrics; perQuery: readonly QueryScore[] },
  signal?: AbortSignal,
): Promise<void> {
  const columns = {
    query_id: 'text',
    usage: 'text',
    ap_kaggle: 'double',
    ap_reference: 'double',
    ground_truths: 'integer',
    hits: 'integer',
    first_hit: 'integer',
  } as const;
  const rows = perQuery.map((score) => [
    score.queryId,
    score.usage,
    score.averagePrecision,
    score.averagePrecisionReference,
    score.groundTruths,
    score.hits,
    score.firstHit,
  ]);
  await wholeFile(join(out, perQueryName), (path) => parquet.write({ path, columns, rows }, signal));
  await writeWhole(join(out, metricsName), `${JSON.stringify(metrics, null, 2)}\n`);
}

/** The part of {@link QueryScore} for comparing two results. */
export type QueryResult = Pick<QueryScore, 'queryId' | 'averagePrecision'> & { usage: 'Public' | 'Private' };

/**
 * Reads `per_query.parquet`, the file or its folder. Throws `missing_file` if it does not exist, `corrupt_artifact` if it is invalid, or a
 * query is duplicate.
 */
export async function readQueryResults(parquet: Parquet, given: string, signal?: AbortSignal): Promise<QueryResult[]> {
  const path = given.endsWith('.parquet') ? given : join(given, perQueryName);
  await stat(path).catch((cause: unknown) => {
    throw new CairnError('missing_file', `${path} does not exist`, {
      cause,
      details: { remedy: 'Score the result first: `cairn search --solution` and `cairn score --out` write it.' },
    });
  });
  const sql = 'select query_id, usage, ap_kaggle from read_parquet($path, file_row_number = true) order by file_row_number';
  const table = await parquet.query({ path, sql }, signal);
  const [usages, values] = [table.text('usage'), table.number('ap_kaggle')];
  const seen = new Set<string>();
  return table.text('query_id').map((queryId, row) => {
    const [usage, averagePrecision] = [usages[row], values[row] as number];
    if ((usage !== 'Public' && usage !== 'Private') || seen.has(queryId)) {
      throw new CairnError('corrupt_artifact', `${path}: row ${row + 1} is not the result of a query that comes once. Score it again.`);
    }
    seen.add(queryId);
    return { queryId, usage, averagePrecision };
  });
}
