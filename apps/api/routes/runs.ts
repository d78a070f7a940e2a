import {
  annotateRequest,
  callerActions,
  cancelRequest,
  largestInt4,
  lineage,
  planView,
  recipeList,
  recipeView,
  retryRequest,
  runComparison,
  runComparisonQuery,
  runEventPage,
  runListQuery,
  runPage,
  runTimeline,
  runView,
  submitRequest,
  writtenText,
} from '@cairn/contract';
import { compareRuns, getRun, listEvents, listRuns, readTimeline, runLineage } from '@cairn/db';
import { findRecipe } from '@cairn/engine';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, idempotencyHeaders, nameParams, problems, runParams } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

const submitQuery = z.strictObject({
  dryRun: z.enum(['true', 'false']).default('false').describe('`true` returns the plan and changes nothing.'),
});
const eventsQuery = z.strictObject({
  after: z.coerce.number().int().min(0).max(largestInt4).default(0).describe('Return events after this sequence number.'),
  before: z.coerce
    .number()
    .int()
    .min(1)
    .max(largestInt4)
    .optional()
    .describe('Return the last events before this sequence number, instead of the first ones after `after`.'),
  step: writtenText(100, { least: 1 }).optional().describe('Only events about this step.'),
  limit: z.coerce.number().int().min(1).max(1000).default(200),
});

export function runRoutes(app: App, { prisma, engine, admission }: ApiDeps): void {
  const tags = ['runs'];
  const viewOf = (runId: string, projectId: string) => getRun(prisma, { projectId, runId, admission });

  app.post(
    '/v1/runs',
    {
      config: { role: callerActions['run.submit'] },
      schema: {
        operationId: 'submitRun',
        tags,
        summary: 'Submit a run, or plan it',
        description:
          'Creates a run of a recipe on a dataset. With `dryRun=true` it returns which steps would run, which would be reused, and why.',
        headers: idempotencyHeaders,
        querystring: submitQuery,
        body: submitRequest,
        response: {
          200: z
            .union([runView, planView])
            .describe('The run that an earlier request with this Idempotency-Key created, or the plan of a dry run.'),
          201: runView.describe('The new run.'),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      if (request.query.dryRun === 'true') return reply.code(200).send(await engine.planRun(request.body, caller));
      const { runId, created } = await engine.submitRun(request.body, caller, request.headers['idempotency-key'] ?? null);
      const view = await viewOf(runId, caller.projectId);
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/runs/${runId}`)
        .send(view);
    },
  );

  app.get(
    '/v1/runs',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listRuns',
        tags,
        summary: 'List runs',
        description:
          'With their progress, scores and GPU time. `state`, `recipe` and `owner` may be repeated. A cursor is valid for the order it was made for.',
        querystring: runListQuery,
        response: { 200: runPage, ...problems },
      },
    },
    (request) => listRuns(prisma, { projectId: callerOf(request).projectId, ...request.query, admission }),
  );

  app.get(
    '/v1/runs/comparison',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'compareRuns',
        tags,
        summary: 'Compare runs: the settings that differ, and the scores and GPU time of each step',
        description: 'Two to eight runs. Their evaluations are compared query by query with GET /v1/comparison.',
        querystring: runComparisonQuery,
        response: { 200: runComparison, ...problems },
      },
    },
    (request) => compareRuns(prisma, { projectId: callerOf(request).projectId, runIds: request.query.run, admission }),
  );

  app.get(
    '/v1/runs/:id',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getRun',
        tags,
        summary: 'Show a run with its steps',
        description:
          '`waiting` of a step says why it waits, `waitingFor` names what it waits for, and `failureCard` says what to do about a failure.',
        params: runParams,
        response: { 200: runView, ...problems },
      },
    },
    (request) => viewOf(request.params.id, callerOf(request).projectId),
  );

  app.post(
    '/v1/runs/:id/annotate',
    {
      config: { role: callerActions['run.annotate'] },
      schema: {
        operationId: 'annotateRun',
        tags,
        summary: 'Change the note and the tags of a run',
        description: 'What is left out stays. Unlike labels, tags change at any time, and no budget or policy goes by them.',
        params: runParams,
        body: annotateRequest.prefault({}),
        response: { 200: runView, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.annotateRun(request.params.id, request.body, caller);
      return viewOf(request.params.id, caller.projectId);
    },
  );

  app.post(
    '/v1/runs/:id/cancel',
    {
      config: { role: callerActions['run.cancel'] },
      schema: {
        operationId: 'cancelRun',
        tags,
        summary: 'Cancel a run',
        description: 'Its attempts save what they can within their grace period; finished results are kept and can be reused.',
        params: runParams,
        body: cancelRequest.prefault({}),
        response: { 200: runView, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.cancelRun(request.params.id, caller, request.body.reason);
      return viewOf(request.params.id, caller.projectId);
    },
  );

  app.post(
    '/v1/runs/:id/retry',
    {
      config: { role: callerActions['run.retry'] },
      schema: {
        operationId: 'retryRun',
        tags,
        summary: 'Rerun the failed steps of a run, or all steps from a given one',
        params: runParams,
        body: retryRequest.prefault({}),
        response: { 200: runView, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.retryRun(request.params.id, caller, request.body.from ?? null, { rejected: request.body.rejected });
      return viewOf(request.params.id, caller.projectId);
    },
  );

  app.post(
    '/v1/runs/:id/release',
    {
      config: { role: callerActions['run.release'] },
      schema: {
        operationId: 'releaseRun',
        tags,
        summary: 'Let a held run start',
        description: 'A run is held when a budget of its owner or of one of its labels is spent.',
        params: runParams,
        response: { 200: runView, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.releaseRun(request.params.id, caller);
      return viewOf(request.params.id, caller.projectId);
    },
  );

  app.get(
    '/v1/runs/:id/lineage',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getRunLineage',
        tags,
        summary: 'Show what a run was made from',
        description:
          'Its steps, the dataset and the lists that they read, imported weights, and the steps of other runs whose results it uses.',
        params: runParams,
        response: { 200: lineage, ...problems },
      },
    },
    (request) => runLineage(prisma, { projectId: callerOf(request).projectId, runId: request.params.id }),
  );

  app.get(
    '/v1/runs/:id/timeline',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getTimeline',
        tags,
        summary: 'Show when the steps and attempts of a run waited and ran',
        params: runParams,
        response: { 200: runTimeline, ...problems },
      },
    },
    (request) => readTimeline(prisma, { projectId: callerOf(request).projectId, runId: request.params.id }),
  );

  app.get(
    '/v1/runs/:id/events',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listRunEvents',
        tags,
        summary: 'List the events of a run',
        params: runParams,
        querystring: eventsQuery,
        response: { 200: runEventPage, ...problems },
      },
    },
    (request) => listEvents(prisma, { projectId: callerOf(request).projectId, runId: request.params.id, ...request.query }),
  );
}

export function recipeRoutes(app: App, { recipes }: ApiDeps): void {
  const tags = ['recipes'];
  const config = { role: 'viewer' } as const;

  app.get(
    '/v1/recipes',
    {
      config,
      schema: {
        operationId: 'listRecipes',
        tags,
        summary: 'List the built-in recipes',
        response: { 200: recipeList, ...problems },
      },
    },
    async () => ({
      items: [...recipes.values()].map(({ recipe }) => ({
        name: recipe.name,
        description: recipe.description,
        stages: Object.keys(recipe.stages),
        models: Object.keys(recipe.models),
      })),
    }),
  );

  app.get(
    '/v1/recipes/:name',
    {
      config,
      schema: {
        operationId: 'getRecipe',
        tags,
        summary: 'Show a recipe with all its settings, and as YAML to start from',
        params: nameParams,
        response: { 200: recipeView, ...problems },
      },
    },
    async (request) => findRecipe(recipes, request.params.name),
  );
}
