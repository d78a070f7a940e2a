import {
  CairnError,
  comparisonQuery,
  comparisonView,
  evaluationQuery,
  evaluationView,
  queryScorePage,
  queryScoresQuery,
} from '@cairn/contract';
import { decodeCursor, encodeCursor, findEvaluation } from '@cairn/db';
import type { ReadQueryScores } from '@cairn/judging';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { problems } from '../http/route-schemas.ts';
import { orderQueries } from '../query-scores.ts';
import type { ApiDeps } from './api-deps.ts';

const references =
  'An evaluation is named by its id, by the id of its step or run, as RUN (its step `evaluate`, or its only evaluation), RUN/STEP, or ' +
  'MODEL@VERSION or MODEL@ALIAS.';

/** The place of the next row: rows of an evaluation do not change. */
const placeKey = z.tuple([z.number().int().min(0)]);

export function evaluationRoutes(app: App, { prisma }: ApiDeps, readScores: ReadQueryScores): void {
  const tags = ['evaluations'];
  const find = (projectId: string, reference: string) => findEvaluation(prisma, { projectId, reference });

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
      const { of, against, sort, usage, limit, cursor } = request.query;
      const { projectId } = callerOf(request);
      if (against === undefined && ['gained', 'lost', 'changed'].includes(sort)) {
        throw new CairnError('invalid_request', `The order ${sort} needs an evaluation to compare with`, {
          details: { remedy: 'Name it as `against`, or use another order.', errors: [{ path: 'against', message: 'missing' }] },
        });
      }
      const scores = await readScores(await find(projectId, of));
      const other = against === undefined ? null : await readScores(await find(projectId, against));
      if (other !== null) (await import('@cairn/retrieval/scores')).requireComparable(other, scores);
      const rows = orderQueries(scores, other, { sort, usage });
      const from = decodeCursor(cursor, placeKey)?.[0] ?? 0;
      const next = from + limit;
      return { items: rows.slice(from, next), nextCursor: next < rows.length ? encodeCursor([next]) : null, total: rows.length };
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
