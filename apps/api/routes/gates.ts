import { baselineRequest, CairnError, type GateRequest, gateQuery, gateRequest, judgement, judgementList, runView } from '@cairn/contract';
import { type FoundEvaluation, findEvaluation, getRun, listJudgements } from '@cairn/db';
import { baselineOf, judgeEvaluation, type ReadQueryScores } from '@cairn/judging';
import { callerOf } from '../auth/guard.ts';
import { type App, problems, runParams } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import type { ApiDeps } from './api-deps.ts';

const description =
  'The gate is written as METRIC >= BASELINE or METRIC >= BASELINE - TOLERANCE, such as `mAP@100 >= production - 0.2 points`. The baseline ' +
  'is a number, MODEL@VERSION, MODEL@ALIAS, or a version or alias of the model that the run registers. It passes if all of the 95 % ' +
  'interval of the difference is within the tolerance, fails if all of it is beyond, and is inconclusive otherwise; with `by=mean` the ' +
  'difference alone decides. A baseline of another gallery or other queries is refused with `not_comparable`.';

export function gateRoutes(app: App, { prisma, engine, admission }: ApiDeps, readScores: ReadQueryScores): void {
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
      return judge(projectId, found, null, request.query, closedSignal(reply));
    },
  );

  app.post(
    '/v1/gate/baseline',
    {
      config: { role: 'submitter' },
      schema: {
        operationId: 'evaluateBaseline',
        tags,
        summary: 'Start the run that evaluates the baseline of a gate on the data of an evaluation, so that both can be compared',
        description: 'Asking again gives the same run. When it has succeeded, the gate can be tried.',
        body: baselineRequest,
        response: {
          200: runView.describe('The run that was started before.'),
          201: runView.describe('The new run.'),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { projectId } = caller;
      const { of, gate } = request.body;
      const found = await findEvaluation(prisma, { projectId, reference: of });
      const { name, runId: madeBy } = found.view;
      if (madeBy === null) throw new CairnError('invalid_request', `No run made ${name}, so its data are not known`);
      const baseline = await baselineOf(prisma, { projectId, found, runId: madeBy }, gate);
      const { runId, created } = await engine.evaluateBaseline({ runId: madeBy, step: found.view.step, ...baseline }, caller);
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/runs/${runId}`)
        .send(await getRun(prisma, { projectId, runId, admission }));
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
      const judged = await judge(caller.projectId, found, id, request.body, closedSignal(reply));
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

  const judge = (projectId: string, found: FoundEvaluation, runId: string | null, question: GateRequest, signal: AbortSignal) =>
    judgeEvaluation({ prisma, readScores }, { projectId, found, runId, question }, signal);
}
