import { artifactView, callerActions, gcRequest, gcResult, idOf, retentionPolicy, retentionView, runView } from '@cairn/contract';
import { getArtifact, getRun } from '@cairn/db';
import { readRetention } from '@cairn/engine';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems, runParams } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

/** A younger upload may still be in progress. */
const maxUploadHours = 24;

export function artifactRoutes(app: App, { prisma, engine, store, locate, log }: ApiDeps): void {
  const tags = ['artifacts'];

  app.get(
    '/v1/artifacts/:id',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getArtifact',
        tags,
        summary: 'Show an artifact: its files, their digests and locations',
        params: z.object({ id: idOf('artifact') }),
        response: { 200: artifactView, ...problems },
      },
    },
    (request) => getArtifact(prisma, { projectId: callerOf(request).projectId, artifactId: request.params.id, locate }),
  );

  app.post(
    '/v1/gc',
    {
      config: { role: callerActions['garbage.collect'], load: 'transfer' },
      schema: {
        operationId: 'collectGarbage',
        tags,
        summary: 'Remove what nothing refers to',
        description:
          'Gives up the results of runs that the retention policy does not keep, then removes artifacts that no run and no model refers to, ' +
          'the staging folders of ended attempts, and the remains of interrupted uploads. A dry run also says what stays, and why.',
        body: gcRequest.prefault({}),
        response: { 200: gcResult, ...problems },
      },
    },
    async (request) => {
      const result = await engine.collectGarbage(request.body, callerOf(request));
      if (!result.dryRun) {
        const removed = await store.sweepTemporary(Math.max(maxUploadHours, request.body.olderThanHours) * 3_600_000);
        log.info({ removed }, 'removed unfinished uploads');
      }
      return result;
    },
  );
}

export function retentionRoutes(app: App, { prisma, engine, admission }: ApiDeps): void {
  const tags = ['artifacts'];

  app.get(
    '/v1/retention',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getRetention',
        tags,
        summary: 'Show how long results are kept',
        response: { 200: retentionView, ...problems },
      },
    },
    (request) => readRetention(prisma, callerOf(request).projectId),
  );

  app.put(
    '/v1/retention',
    {
      config: { role: callerActions['retention.manage'] },
      schema: {
        operationId: 'setRetention',
        tags,
        summary: 'Set how long results are kept',
        description:
          'Replaces the policy. Pinned runs, runs that have not ended, and models that an alias names or named keep their results in any case. ' +
          '`POST /v1/gc` with `dryRun` shows what the policy would remove.',
        body: retentionPolicy,
        response: { 200: retentionView, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.setRetention(request.body, caller);
      return readRetention(prisma, caller.projectId);
    },
  );

  for (const [method, isPinned] of [
    ['PUT', true],
    ['DELETE', false],
  ] as const) {
    app.route({
      method,
      url: '/v1/runs/:id/pin',
      config: { role: callerActions['run.pin'] },
      schema: {
        operationId: isPinned ? 'pinRun' : 'unpinRun',
        tags: ['runs'],
        summary: isPinned
          ? 'Keep the results of a run, whatever the retention policy'
          : 'Let the retention policy decide about a run again',
        params: runParams,
        response: { 200: runView, ...problems },
      },
      handler: async (request) => {
        const { projectId, ...caller } = callerOf(request);
        await engine.pinRun(request.params.id, isPinned, { projectId, ...caller });
        return getRun(prisma, { projectId, runId: request.params.id, admission });
      },
    });
  }
}
