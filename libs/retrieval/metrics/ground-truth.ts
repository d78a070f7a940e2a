import { CairnError } from '@cairn/contract';
import type { Parquet } from '../parquet/open-parquet.ts';

/** The usage of a query: Public and Private are scored separately, Ignored is not scored. */
export type Usage = 'Public' | 'Private' | 'Ignored';

export type Truth = {
  usage: Usage;
  /** The ground truths: images of the gallery that show the same landmark. */
  imageIds: readonly string[];
};

/** Every query and its ground truths; a prediction for a query that is not in it is an error. */
export type GroundTruth = ReadonlyMap<string, Truth>;

/** Queries and their predicted images, best first. A list of pairs rather than a map: a query that occurs twice is an error. */
export type Predictions = Iterable<readonly [queryId: string, imageIds: readonly string[]]>;

/**
 * Reads `ground_truth.parquet` (query_id, image_id, usage; a row for each ground truth) for these queries: one without a row is Ignored.
 * Throws `corrupt_artifact` for an invalid usage, a query with two usages, or one that is not in the list.
 */
export async function readGroundTruth(
  parquet: Parquet,
  { path, queryIds }: { path: string; queryIds: readonly string[] },
  signal?: AbortSignal,
): Promise<GroundTruth> {
  const sql = 'select query_id, image_id, usage from read_parquet($path, file_row_number = true) order by file_row_number';
  const table = await parquet.query({ path, sql }, signal);
  const [imageIds, usages] = [table.text('image_id'), table.text('usage')];
  const truths = new Map<string, { usage: Usage; imageIds: string[] }>(
    queryIds.map((queryId) => [queryId, { usage: 'Ignored', imageIds: [] }]),
  );
  table.text('query_id').forEach((queryId, row) => {
    const usage = usages[row];
    const truth = truths.get(queryId);
    const corrupt = (what: string) => new CairnError('corrupt_artifact', `${path}: row ${row + 1}: ${what}. Prepare the dataset again.`);
    if (usage !== 'Public' && usage !== 'Private') throw corrupt(`the usage ${usage} is neither Public nor Private`);
    if (truth === undefined) throw corrupt(`the query ${queryId} is not in the list of queries`);
    if (truth.imageIds.length > 0 && truth.usage !== usage) throw corrupt(`the query ${queryId} is ${usage} here, ${truth.usage} before`);
    truth.usage = usage;
    truth.imageIds.push(imageIds[row] ?? '');
  });
  return truths;
}

/** The predictions by query. Throws `bad_row` for a query that is not in the ground truth or occurs twice. */
export function indexPredictions(predictions: Predictions, groundTruth: GroundTruth): ReadonlyMap<string, readonly string[]> {
  const byQuery = new Map<string, readonly string[]>();
  for (const [queryId, imageIds] of predictions) {
    if (!groundTruth.has(queryId)) throw new CairnError('bad_row', `The query ${queryId} is predicted, but is not in the list of queries.`);
    if (byQuery.has(queryId)) throw new CairnError('bad_row', `The query ${queryId} is predicted twice.`);
    byQuery.set(queryId, imageIds);
  }
  return byQuery;
}
