import {
  CairnError,
  type NeighboursQuery,
  type NeighboursView,
  type QueryScoreRow,
  type RankedImageView,
  type RejectedImageView,
  scoredDepth,
} from '@cairn/contract';
import {
  type ArtifactFile,
  datasetOfRun,
  type FoundEvaluation,
  fileOfArtifact,
  loadLineage,
  type MadeArtifact,
  type PrismaClient,
  type RejectedFile,
} from '@cairn/db';
import { z } from 'zod';
import { readGallery, readOf } from './gallery.ts';
import type { StoredTables } from './list-rows.ts';

type ReadNeighbours = (args: {
  projectId: string;
  of: FoundEvaluation;
  against: FoundEvaluation | null;
  scores: readonly QueryScoreRow[];
  limit: NeighboursQuery['limit'];
}) => Promise<NeighboursView>;

const foundRow = z.object({ query_id: z.string(), rank: z.number().int(), image_id: z.string(), score: z.number() });
const truthRow = z.object({ query_id: z.string(), image_id: z.string() });
type FoundRow = z.infer<typeof foundRow>;

/** Creates the function that reads what a search found for queries, and what it should have found. */
export function neighbourReader({ prisma, tables }: { prisma: PrismaClient; tables: StoredTables }): ReadNeighbours {
  /** The rows of a file of these queries, by query. */
  async function rowsOf<T extends { query_id: string }>(
    file: ArtifactFile,
    row: z.ZodType<T>,
    ids: readonly string[],
    where = 'true',
  ): Promise<ReadonlyMap<string, T[]>> {
    const some = `query_id in (select unnest(string_split($ids, ' '))) and ${where}`;
    const sql = `select to_json(t)::varchar as row from read_parquet($path) t where ${some}`;
    return Map.groupBy(await tables.query(file, row, sql, { ids: ids.join(' ') }), ({ query_id: id }) => id);
  }

  /** What a search found, best first. */
  async function rankedOf(lineage: readonly MadeArtifact[], ids: readonly string[]): Promise<ReadonlyMap<string, FoundRow[]>> {
    const file = requireFile(readOf(lineage, lineage[0], 'neighbours'), 'neighbours.parquet');
    const found = await rowsOf(file, foundRow, ids, `rank <= ${scoredDepth}`);
    for (const rows of found.values()) rows.sort((a, b) => a.rank - b.rank);
    return found;
  }

  return async ({ projectId, of, against, scores, limit }) => {
    const ids = scores.map(({ queryId }) => queryId);
    const lineage = await loadLineage(prisma, projectId, of.view.id);
    const found = await rankedOf(lineage, ids);
    const otherFound = against === null ? null : await rankedOf(await loadLineage(prisma, projectId, against.view.id), ids);
    const truthFile = requireFile(readOf(lineage, lineage[0], 'lists'), 'lists/ground_truth.parquet');
    const truthsOf = await rowsOf(truthFile, truthRow, ids);

    const parts = scores.map((query) => {
      const [here, there] = [found.get(query.queryId) ?? [], otherFound?.get(query.queryId) ?? []];
      const truths = new Set(truthsOf.get(query.queryId)?.map((row) => row.image_id));
      const [ranks, otherRanks] = [rankMap(here), rankMap(there)];
      const missed = [...truths].filter((imageId) => !ranks.has(imageId));
      return { query, truths, ranks, otherRanks, missed, here: here.slice(0, limit), there: there.slice(0, limit) };
    });
    const shown = parts.flatMap(({ here, there, missed }) => [
      ...[...here, ...there].map((row) => row.image_id),
      ...missed.slice(0, scoredDepth),
    ]);
    const index = readOf(lineage, readOf(lineage, lineage[0], 'neighbours'), /^index(\.|$)/);
    const known = await readGallery({ prisma, tables }, lineage, index, [...new Set(shown)]);
    const view = (row: FoundRow, truths: ReadonlySet<string>, elsewhere: ReadonlyMap<string, number>): RankedImageView => ({
      imageId: row.image_id,
      rank: row.rank,
      score: row.score,
      isRight: truths.has(row.image_id),
      otherRank: elsewhere.get(row.image_id) ?? null,
      ...known(row.image_id),
    });
    return {
      evaluation: { id: of.view.id, name: of.view.name },
      dataset: await datasetOfRun(prisma, projectId, of.view.runId),
      against: against === null ? null : { id: against.view.id, name: against.view.name },
      queries: parts.map(({ query, truths, ranks, otherRanks, missed, here, there }) => ({
        query,
        items: here.map((row) => view(row, truths, otherRanks)),
        missed: missed.slice(0, scoredDepth).map((imageId) => ({
          imageId,
          otherRank: otherRanks.get(imageId) ?? null,
          ...known(imageId),
        })),
        missedTotal: missed.length,
        otherItems: against === null ? null : there.map((row) => view(row, truths, ranks)),
      })),
    };
  };
}

const rankMap = (rows: readonly FoundRow[]): ReadonlyMap<string, number> => new Map(rows.map((row) => [row.image_id, row.rank]));

function requireFile(made: MadeArtifact | undefined, name: string) {
  const file = made === undefined ? null : fileOfArtifact(made.artifact, name);
  if (file !== null) return file;
  throw new CairnError('not_found', `What the evaluation was computed from is not stored any more: ${name}`, {
    details: { remedy: 'Submit its recipe again: the steps whose results were removed run, and the evaluation has its results again.' },
  });
}

/** Files of earlier releases have no bytes. */
const rejectedRow = z.object({ image_id: z.string(), path: z.string(), reason: z.string(), bytes: z.number().int().nullish() });

/**
 * Images of these files in order, from the row `skip` of the first on, at most `limit`; and the place of the next one, which is null after
 * the last of these files.
 */
export async function readRejected(
  tables: StoredTables,
  files: readonly RejectedFile[],
  { skip, limit }: { skip: number; limit: number },
): Promise<{ items: RejectedImageView[]; next: [shard: number, row: number] | null }> {
  const items: RejectedImageView[] = [];
  for (const [at, file] of files.entries()) {
    const from = at === 0 ? skip : 0;
    const room = limit - items.length;
    if (room === 0) return { items, next: [file.shard, from] };
    const sql = `select to_json(r)::varchar as row from (select * exclude (file_row_number) from read_parquet($path, file_row_number = true)
      order by file_row_number limit $room offset $from) r`;
    const rows = await tables.query(file, rejectedRow, sql, { room, from });
    items.push(...rows.map(({ image_id: imageId, path, reason, bytes = null }) => ({ imageId, path, reason, bytes, shard: file.shard })));
    if (rows.length === room && from + room < file.count) return { items, next: [file.shard, from + room] };
  }
  return { items, next: null };
}
