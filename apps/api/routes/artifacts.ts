import { artifactView, callerActions, gcRequest, gcResult, idOf } from '@cairn/contract';
import { getArtifact } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
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
