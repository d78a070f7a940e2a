import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError, distributionSteps, type QueryScoreRow, type QueryScoresQuery } from '@cairn/contract';
import type { FoundEvaluation } from '@cairn/db';
import type { NamedScores } from '@cairn/retrieval/scores';
import type { ObjectStore } from '@cairn/storage';

export type ReadQueryScores = (found: FoundEvaluation) => Promise<NamedScores>;

/** About 60,000 queries; GLDv2 has 1,129. */
const maxFileBytes = 2 * 1024 * 1024;
const maxKept = 8;
const timeoutMs = 60_000;

/**
 * Creates the function that reads the scores by query of an evaluation. They never change, so the last few are kept in memory, and concurrent
 * callers share one read.
 */
export function queryScoreReader(store: ObjectStore): ReadQueryScores {
  const kept = new Map<string, Promise<NamedScores>>();

  async function load({ view, perQuery }: FoundEvaluation): Promise<NamedScores> {
    if (perQuery === null) {
      throw new CairnError('not_found', `The evaluation ${view.name} has no scores by query: an earlier release made it`, {
        details: { remedy: 'Submit its recipe again: only the step `evaluate` runs, and its result has them.' },
      });
    }
    if (perQuery.bytes > maxFileBytes) {
      const what = `The scores by query of ${view.name} have ${perQuery.bytes} bytes; the service reads at most ${maxFileBytes}`;
      throw new CairnError('invalid_request', what, {
        details: { remedy: 'Copy `per_query.parquet` of both evaluations from the object storage, and pass the files to `cairn compare`.' },
      });
    }
    // DuckDB is large: load it only when scores are read.
    const { openParquet, readScores } = await import('@cairn/retrieval/scores');
    const signal = AbortSignal.timeout(timeoutMs);
    const folder = await mkdtemp(join(tmpdir(), 'cairn-scores-'));
    const parquet = await openParquet({ timeoutMs });
    try {
      const file = join(folder, 'per_query.parquet');
      await store.download(perQuery.key, file, { sha256: perQuery.sha256, signal });
      return { name: view.name, ...(await readScores(parquet, file, signal)) };
    } finally {
      await parquet.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  return async (found) => {
    const { id, name } = found.view;
    const known = kept.get(id);
    const reading = known ?? load(found);
    // The newest last; a failed read is tried again.
    kept.delete(id);
    kept.set(id, reading);
    for (const oldest of [...kept.keys()].slice(0, -maxKept)) kept.delete(oldest);
    const forget = (error: unknown): never => {
      if (kept.get(id) === reading) kept.delete(id);
      throw error;
    };
    // The same evaluation may be named in several ways.
    return { ...(await reading.catch(forget)), name };
  };
}

/** Counts averages by their size, in {@link distributionSteps} equal steps. */
export function countByStep(averages: readonly (number | null)[]): number[] {
  const counts = Array.from({ length: distributionSteps }, () => 0);
  for (const average of averages) {
    if (average === null) continue;
    const step = Math.min(distributionSteps - 1, Math.floor(average * distributionSteps));
    counts[step] = (counts[step] ?? 0) + 1;
  }
  return counts;
}

type Order = QueryScoresQuery['sort'];
const byId = (a: QueryScoreRow, b: QueryScoreRow): number => (a.queryId < b.queryId ? -1 : 1);
const gainOf = ({ difference }: QueryScoreRow): number => difference ?? 0;
const orders: Record<Order, (a: QueryScoreRow, b: QueryScoreRow) => number> = {
  worst: (a, b) => a.averagePrecision - b.averagePrecision,
  best: (a, b) => b.averagePrecision - a.averagePrecision,
  gained: (a, b) => gainOf(b) - gainOf(a),
  lost: (a, b) => gainOf(a) - gainOf(b),
  changed: (a, b) => Math.abs(gainOf(b)) - Math.abs(gainOf(a)),
  id: byId,
};

/** Queries in order, each with its score in `against`, if that is given. Equal ones are ordered by id, so that pages neither repeat nor skip one. */
export function orderQueries(
  { queries }: NamedScores,
  against: NamedScores | null,
  { sort, usage }: Pick<QueryScoresQuery, 'sort' | 'usage'>,
): QueryScoreRow[] {
  const earlier = new Map(against?.queries.map(({ queryId, averagePrecision }) => [queryId, averagePrecision]));
  return queries
    .filter((query) => usage === undefined || query.usage === usage)
    .map((query): QueryScoreRow => {
      const before = earlier.get(query.queryId) ?? null;
      return { ...query, before, difference: before === null ? null : query.averagePrecision - before };
    })
    .sort((a, b) => orders[sort](a, b) || byId(a, b));
}
