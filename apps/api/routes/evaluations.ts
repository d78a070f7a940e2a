import {
  CairnError,
  comparisonQuery,
  comparisonView,
  distributionQuery,
  distributionSteps,
  evaluationQuery,
  evaluationView,
  lineageView,
  neighboursQuery,
  neighboursView,
  type QueryScoreRow,
  type QueryScoresQuery,
  queryScorePage,
  queryScoresQuery,
  scoreDistribution,
} from '@cairn/contract';
import { datasetOfRun, decodeCursor, encodeCursor, findEvaluation, loadLineage, modelsOfEvaluation } from '@cairn/db';
import type { ReadQueryScores } from '@cairn/judging';
import type { NamedScores } from '@cairn/retrieval/scores';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { neighbourReader } from '../images/read-neighbours.ts';
import type { ApiDeps } from './api-deps.ts';

const references =
  'An evaluation is named by its id, by the id of its step or run, as RUN (its step `evaluate`, or its only evaluation), RUN/STEP, or ' +
  'MODEL@VERSION or MODEL@ALIAS.';

/** The place of the next row: rows of an evaluation do not change. */
const placeKey = z.tuple([z.number().int().min(0)]);

export function evaluationRoutes(app: App, { prisma, tables }: ApiDeps, readScores: ReadQueryScores): void {
  const tags = ['evaluations'];
  const find = (projectId: string, reference: string) => findEvaluation(prisma, { projectId, reference });
  const readNeighbours = neighbourReader({ prisma, tables });
  /** The evaluations that a request names, and their scores, which must be of the same gallery and queries. */
  const read = async (projectId: string, names: { of: string; against?: string | undefined }) => {
    const of = await find(projectId, names.of);
    const against = names.against === undefined ? null : await find(projectId, names.against);
    const scores = await readScores(of);
    const other = against === null ? null : await readScores(against);
    if (other !== null) (await import('@cairn/retrieval/scores')).requireComparable(other, scores);
    return { of, against, scores, other };
  };

  app.get(
    '/v1/evaluation',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getEvaluation',
        tags,
        summary: 'Show an evaluation: its scores with intervals, its gallery',
        description: references,
        querystring: evaluationQuery,
        response: { 200: evaluationView, ...problems },
      },
    },
    async (request) => (await find(callerOf(request).projectId, request.query.of)).view,
  );

  app.get(
    '/v1/evaluation/queries',
    {
      config: { role: 'viewer', load: 'transfer' },
      schema: {
        operationId: 'listQueryScores',
        tags,
        summary: 'List the queries of an evaluation with their scores, the worst first',
        description:
          `${references} With \`against\`, each query also has its score in that evaluation, which must be of the same gallery and queries; ` +
          'the orders `gained`, `lost` and `changed` need it.',
        querystring: queryScoresQuery,
        response: { 200: queryScorePage, ...problems },
      },
    },
    async (request) => {
      const { of, against, sort, usage, query, limit, cursor } = request.query;
      const { projectId } = callerOf(request);
      if (against === undefined && ['gained', 'lost', 'changed'].includes(sort)) {
        throw new CairnError('invalid_request', `The order ${sort} needs an evaluation to compare with`, {
          details: { remedy: 'Name it as `against`, or use another order.', errors: [{ path: 'against', message: 'missing' }] },
        });
      }
      const { scores, other } = await read(projectId, { of, against });
      const ordered = orderQueries(scores, other, { sort, usage });
      const rows = query === undefined ? ordered : ordered.filter(({ queryId }) => queryId === query);
      const from = decodeCursor(cursor, placeKey)?.[0] ?? 0;
      const next = from + limit;
      return { items: rows.slice(from, next), nextCursor: next < rows.length ? encodeCursor([next]) : null, total: rows.length };
    },
  );

  app.get(
    '/v1/evaluation/distribution',
    {
      config: { role: 'viewer', load: 'transfer' },
      schema: {
        operationId: 'getScoreDistribution',
        tags,
        summary: 'Count the queries of an evaluation by their average precision',
        description: `${references} In 20 equal steps from 0 to 1. With \`against\`, those of another evaluation of the same queries too.`,
        querystring: distributionQuery,
        response: { 200: scoreDistribution, ...problems },
      },
    },
    async (request) => {
      const { scores, other } = await read(callerOf(request).projectId, request.query);
      return {
        queries: scores.queries.length,
        kaggle: countByStep(scores.queries.map(({ averagePrecision }) => averagePrecision)),
        reference: countByStep(scores.queries.map(({ averagePrecisionReference }) => averagePrecisionReference)),
        against: other === null ? null : countByStep(other.queries.map(({ averagePrecision }) => averagePrecision)),
      };
    },
  );

  app.get(
    '/v1/evaluation/neighbours',
    {
      config: { role: 'viewer', load: 'transfer' },
      schema: {
        operationId: 'listNeighbours',
        tags,
        summary: 'Show what a search found for queries, and the ground truths that it missed',
        description:
          `${references} Each result has its label, the shard of the index that has its features, and with \`against\` its rank in another ` +
          'evaluation. GET /v1/datasets/:name/images/:id shows the images.',
        querystring: neighboursQuery,
        response: { 200: neighboursView, ...problems },
      },
    },
    async (request) => {
      const { query, limit } = request.query;
      const { projectId } = callerOf(request);
      const { of, against, scores, other } = await read(projectId, request.query);
      const wanted = new Set(query);
      const found = orderQueries({ ...scores, queries: scores.queries.filter(({ queryId }) => wanted.has(queryId)) }, other, {
        sort: 'id',
      });
      const byId = new Map(found.map((score) => [score.queryId, score]));
      const unknown = query.find((id) => !byId.has(id));
      if (unknown !== undefined) {
        throw new CairnError('not_found', `${of.view.name} has no scored query ${unknown}`, {
          details: { remedy: 'GET /v1/evaluation/queries and `cairn queries` list the scored queries.' },
        });
      }
      const rows = [...wanted].flatMap((id) => byId.get(id) ?? []);
      return readNeighbours({ projectId, of, against, scores: rows, limit });
    },
  );

  app.get(
    '/v1/evaluation/lineage',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getEvaluationLineage',
        tags,
        summary: 'Show what an evaluation was made from, back to the first step',
        description: `${references} Results of other runs that were reused are followed too.`,
        querystring: evaluationQuery,
        response: { 200: lineageView, ...problems },
      },
    },
    async (request) => {
      const { projectId } = callerOf(request);
      const { view } = await find(projectId, request.query.of);
      const lineage = await loadLineage(prisma, projectId, view.id);
      return {
        evaluation: view,
        dataset: await datasetOfRun(prisma, projectId, view.runId),
        models: await modelsOfEvaluation(prisma, projectId, view.id),
        made: lineage.map(({ stepId: _, artifact: __, reads: ___, ...made }) => made),
      };
    },
  );

  app.get(
    '/v1/comparison',
    {
      config: { role: 'viewer', load: 'transfer' },
      schema: {
        operationId: 'compareEvaluations',
        tags,
        summary: 'Compare two evaluations query by query',
        description:
          `${references} The difference of mAP@100 (Kaggle) has a 95 % interval of a paired bootstrap and the p-value of a paired permutation ` +
          'test. Evaluations of different galleries, queries or ground truths are refused with `not_comparable`.',
        querystring: comparisonQuery,
        response: { 200: comparisonView, ...problems },
      },
    },
    async (request, reply) => {
      const { a, b, samples, seed, show } = request.query;
      const { projectId } = callerOf(request);
      const signal = closedSignal(reply);
      const [first, second] = [await find(projectId, a), await find(projectId, b)];
      const [before, after] = [await readScores(first), await readScores(second)];
      const { compareResults, mostSamples } = await import('@cairn/retrieval/scores');
      const most = mostSamples(before.queries.length);
      if (samples !== undefined && samples > most) {
        throw new CairnError('invalid_request', `${samples} samples of ${before.queries.length} queries are too many for the service`, {
          details: { remedy: `Use at most ${most}.`, errors: [{ path: 'samples', message: `at most ${most}` }] },
        });
      }
      return { a: first.view, b: second.view, comparison: await compareResults(before, after, { samples, seed, show, signal }) };
    },
  );
}

/** Counts averages by their size, in {@link distributionSteps} equal steps. */
function countByStep(averages: readonly (number | null)[]): number[] {
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
function orderQueries(
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
