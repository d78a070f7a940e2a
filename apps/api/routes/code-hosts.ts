import {
  callerActions,
  codeHostList,
  codeHostRequest,
  codeHostToken,
  codeHostView,
  outgoingDeliveryListQuery,
  outgoingDeliveryPage,
} from '@cairn/contract';
import { getCodeHost, listCodeHosts, listOutgoingDeliveries } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { nameParams, problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

/** Code hosts that get reports about the runs of their repositories. */
export function codeHostRoutes(app: App, { engine, prisma }: ApiDeps): void {
  const tags = ['code hosts'];
  const config = { role: callerActions['delivery.manage'] } as const;

  app.get(
    '/v1/code-hosts',
    {
      config,
      schema: { operationId: 'listCodeHosts', tags, summary: 'List the code hosts by name', response: { 200: codeHostList, ...problems } },
    },
    async (request) => ({ items: await listCodeHosts(prisma, callerOf(request)) }),
  );

  app.post(
    '/v1/code-hosts',
    {
      config,
      schema: {
        operationId: 'addCodeHost',
        tags,
        summary: 'Add a code host that gets reports about runs',
        description:
          'A run with a source in one of its repositories sets a commit status, and writes one comment on its pull request. The token is ' +
          'never shown. If several code hosts have a repository, the first by name gets the reports.',
        body: codeHostRequest,
        response: { 201: codeHostView, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      await engine.addCodeHost(request.body, caller);
      return reply.code(201).send(await getCodeHost(prisma, { projectId: caller.projectId, name: request.body.name }));
    },
  );

  app.get(
    '/v1/code-hosts/:name',
    {
      config,
      schema: {
        operationId: 'getCodeHost',
        tags,
        summary: 'Show a code host',
        params: nameParams,
        response: { 200: codeHostView, ...problems },
      },
    },
    (request) => getCodeHost(prisma, { projectId: callerOf(request).projectId, name: request.params.name }),
  );

  app.put(
    '/v1/code-hosts/:name/token',
    {
      config,
      schema: {
        operationId: 'replaceCodeHostToken',
        tags,
        summary: 'Replace the token of a code host, or the private key of its GitHub App',
        description: 'Reports that failed and are still tried are sent with it at once.',
        params: nameParams,
        body: codeHostToken,
        response: { 200: codeHostView, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { name } = request.params;
      await engine.replaceCodeHostToken(name, request.body, caller);
      return getCodeHost(prisma, { projectId: caller.projectId, name });
    },
  );

  app.delete(
    '/v1/code-hosts/:name',
    {
      config,
      schema: {
        operationId: 'removeCodeHost',
        tags,
        summary: 'Remove a code host and the reports that wait for it; what it was told stays there',
        params: nameParams,
        response: { 204: z.null().describe('Removed.'), ...problems },
      },
    },
    async (request, reply) => {
      await engine.removeCodeHost(request.params.name, callerOf(request));
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/v1/code-hosts/:name/deliveries',
    {
      config,
      schema: {
        operationId: 'listReports',
        tags,
        summary: 'List the reports to a code host and what came of them, newest first',
        description: 'One for each commit and recipe, and one for each pull request; what is newer replaces what was not sent yet.',
        params: nameParams,
        querystring: outgoingDeliveryListQuery,
        response: { 200: outgoingDeliveryPage, ...problems },
      },
    },
    async (request) => {
      const { id } = await getCodeHost(prisma, { projectId: callerOf(request).projectId, name: request.params.name });
      return listOutgoingDeliveries(prisma, { target: id, ...request.query });
    },
  );
}
