import { callerActions, safeName, viewList, viewName, viewRequest, whyNotOwner } from '@cairn/contract';
import { listViews } from '@cairn/db';
import { z } from 'zod';
import { requireRole } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

/** Saved views: pages of the dashboard with their filters. */
export function viewRoutes(app: App, { prisma, engine }: ApiDeps): void {
  const tags = ['views'];
  const config = { role: callerActions['view.save'] } as const;
  const params = z.object({ name: viewName });
  const list = async ({ projectId, name: owner }: { projectId: string; name: string }) => ({
    items: await listViews(prisma, { projectId, owner }),
  });

  app.get(
    '/v1/views',
    {
      config,
      schema: {
        operationId: 'listViews',
        tags,
        summary: "List the caller's saved views, and those that others share",
        response: { 200: viewList, ...problems },
      },
    },
    (request) => list(callerOf(request)),
  );

  app.put(
    '/v1/views/:name',
    {
      config,
      schema: {
        operationId: 'saveView',
        tags,
        summary: 'Save or change a view of the caller',
        description: 'A page of the dashboard with the query of its address. Sharing it with the project requires the role submitter.',
        params,
        body: viewRequest,
        response: { 200: viewList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      if (request.body.isShared) requireRole(caller, callerActions['view.share'], 'it shares the view with the project');
      await engine.saveView(request.params.name, request.body, caller);
      return list(caller);
    },
  );

  app.delete(
    '/v1/views/:name',
    {
      config,
      schema: {
        operationId: 'removeView',
        tags,
        summary: 'Remove a view',
        description: 'Of the caller; an admin can name another owner, to remove a shared view.',
        params,
        querystring: z.strictObject({ owner: safeName.optional() }),
        response: { 200: viewList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { owner = caller.name } = request.query;
      if (whyNotOwner(owner, caller) !== null) requireRole(caller, 'admin', `the view ${request.params.name} belongs to ${owner}`);
      await engine.removeView({ owner, name: request.params.name }, caller);
      return list(caller);
    },
  );
}
