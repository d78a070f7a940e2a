import {
  CairnError,
  type Gate,
  gateMetrics,
  gateQuery,
  gateRequest,
  type Judgement,
  judgement,
  judgementList,
  parseGate,
} from '@cairn/contract';
import { type FoundEvaluation, findEvaluation, listJudgements, versionNamed } from '@cairn/db';
import { judgeGate } from '@cairn/domain';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { problems, runParams } from '../http/route-schemas.ts';
import type { ReadQueryScores } from '../query-scores.ts';
import type { ApiDeps } from './api-deps.ts';

const description =
  'The gate is written as METRIC >= BASELINE or METRIC >= BASELINE - TOLERANCE, such as `mAP@100 >= production - 0.2 points`. The baseline ' +
  'is a number, MODEL@VERSION, MODEL@ALIAS, or a version or alias of the model that the run registers. It passes if all of the 95 % ' +
  'interval of the difference is within the tolerance, fails if all of it is beyond, and is inconclusive otherwise; with `by=mean` the ' +
  'difference alone decides. A baseline of another gallery or other queries is refused with `not_comparable`.';

/** Queries in a judgement that lost most. */
const shownLosses = 10;

export function gateRoutes(app: App, { prisma, engine }: ApiDeps, readScores: ReadQueryScores): void {
  const tags = ['evaluations'];

  app.get(
    '/v1/gate',
    {
      config: { role: 'viewer', load: 'transfer' },
      schema: {
        operationId: 'tryGate',
        tags,
        summary: 'Try a quality gate on an evaluation; nothing is stored',
        description,
        querystring: gateQuery,
        response: { 200: judgement, ...problems },
      },
    },
    async (request, reply) => {
      const { projectId } = callerOf(request);
      const found = await findEvaluation(prisma, { projectId, reference: request.query.of });
      return judge(projectId, found, request.query, closedSignal(reply));
    },
  );

  app.post(
    '/v1/runs/:id/gate',
    {
      config: { role: 'submitter', load: 'transfer' },
      schema: {
        operationId: 'judgeRun',
        tags,
        summary: 'Judge a run that succeeded, and store the verdict',
        description,
        params: runParams,
        body: gateRequest,
        response: { 200: judgement, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { id } = request.params;
      const found = await findEvaluation(prisma, { projectId: caller.projectId, reference: id });
      const judged = await judge(caller.projectId, found, request.body, closedSignal(reply));
      await engine.recordJudgement(id, judged, caller);
      return judged;
    },
  );

  app.get(
    '/v1/runs/:id/judgements',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listJudgements',
        tags,
        summary: 'List what gates decided about a run, the newest 100 first',
        params: runParams,
        response: { 200: judgementList, ...problems },
      },
    },
    async (request) => ({ items: await listJudgements(prisma, { projectId: callerOf(request).projectId, runId: request.params.id }) }),
  );

  type Question = { gate: string; by: Judgement['by']; minQueries: number };

  async function judge(projectId: string, found: FoundEvaluation, question: Question, signal: AbortSignal): Promise<Judgement> {
    const gate = parseGate(question.gate);
    const { baseline, facts, lost } = await compare(projectId, gate, found, signal);
    const decision = judgeGate(gate, question.by, question.minQueries, facts);
    const { queries, value, baselineValue, low, high } = facts;
    const { id, name } = found.view;
    return {
      ...{ gate: question.gate, by: question.by, minQueries: question.minQueries, ...decision },
      ...{ queries, value, baselineValue, low, high },
      ...{ evaluation: { id, name }, baseline, lost },
    };
  }

  async function compare(projectId: string, gate: Gate, found: FoundEvaluation, signal: AbortSignal) {
    const scores = await readScores(found);
    const usage = gateMetrics[gate.metric];
    const none = () => new CairnError('invalid_request', `${found.view.name} has no queries for ${gate.metric}`);
    if ('value' in gate.baseline) {
      const { meanWithInterval } = await import('@cairn/retrieval/scores');
      const mean = await meanWithInterval(scores.queries, usage, signal);
      if (mean === null) throw none();
      const { value: required } = gate.baseline;
      const facts = {
        ...{ queries: mean.queries, value: mean.mean, baselineValue: required },
        ...{ low: mean.low - required, high: mean.high - required, baselineName: null },
      };
      return { baseline: null, facts, lost: [] };
    }
    const model = gate.baseline.model ?? (await modelOf(found));
    const { version: reference } = gate.baseline;
    const version = await versionNamed(prisma, { projectId, model, version: reference });
    const other = await findEvaluation(prisma, { projectId, reference: `${model}@${version}` });
    const { compareResults } = await import('@cairn/retrieval/scores');
    const comparison = await compareResults(await readScores(other), scores, { show: shownLosses, signal });
    const means = comparison[usage];
    if (means === null) throw none();
    const called = reference === String(version) ? '' : ` (${reference})`;
    const facts = {
      ...{ queries: means.queries, value: means.b, baselineValue: means.a, low: means.low, high: means.high },
      baselineName: `${model}@${version}${called}`,
    };
    const lost = comparison.lost.map(({ queryId, a, b }) => ({ queryId, a, b }));
    return { baseline: { model, version, evaluationId: other.view.id }, facts, lost };
  }

  /** The model that the run of an evaluation registers. */
  async function modelOf({ view }: FoundEvaluation): Promise<string> {
    const row = view.runId === null ? null : await prisma.model.findFirst({ where: { runId: view.runId }, select: { name: true } });
    if (row !== null) return row.name;
    throw new CairnError('invalid_request', `The run of ${view.name} has registered no model, so the gate has to name one`, {
      details: { remedy: 'Write the baseline as MODEL@VERSION or MODEL@ALIAS, such as landmark@production.' },
    });
  }
}
