import {
  callerActions,
  codeHostList,
  codeHostRequest,
  codeHostToken,
  codeHostView,
  outgoingDeliveryId,
  outgoingDeliveryListQuery,
  outgoingDeliveryPage,
  outgoingDeliveryView,
  safeName,
  webhookCreated,
  webhookList,
  webhookRequest,
  webhookView,
} from '@cairn/contract';
import { getCodeHost, getOutgoingDelivery, getWebhook, listCodeHosts, listOutgoingDeliveries, listWebhooks } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, nameParams, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

/** Outgoing webhooks. Their addresses may contain secrets, so only admins see them. */
export function webhookRoutes(app: App, { engine, prisma }: ApiDeps): void {
  const tags = ['webhooks'];
  const config = { role: callerActions['delivery.manage'] } as const;
  const deliveryParams = z.object({ name: safeName, delivery: outgoingDeliveryId });

  app.get(
    '/v1/webhooks',
    {
      config,
      schema: { operationId: 'listWebhooks', tags, summary: 'List the webhooks by name', response: { 200: webhookList, ...problems } },
    },
    async (request) => ({ items: await listWebhooks(prisma, callerOf(request)) }),
  );

  app.post(
    '/v1/webhooks',
    {
      config,
      schema: {
        operationId: 'addWebhook',
        tags,
        summary: 'Add a receiver of signed messages about events',
        description: 'Messages follow Standard Webhooks. Only this response contains the `secret` that signs them.',
        body: webhookRequest,
        response: { 201: webhookCreated, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const secret = await engine.addWebhook(request.body, caller);
      const { name } = request.body;
      return reply.code(201).send({ ...(await getWebhook(prisma, { projectId: caller.projectId, name })), secret });
    },
  );

  app.get(
    '/v1/webhooks/:name',
    {
      config,
      schema: {
        operationId: 'getWebhook',
        tags,
        summary: 'Show a webhook',
        params: nameParams,
        response: { 200: webhookView, ...problems },
      },
    },
    (request) => getWebhook(prisma, { projectId: callerOf(request).projectId, name: request.params.name }),
  );

  app.delete(
    '/v1/webhooks/:name',
    {
      config,
      schema: {
        operationId: 'removeWebhook',
        tags,
        summary: 'Remove a webhook, the messages that wait for it, and its log',
        params: nameParams,
        response: { 204: z.null().describe('Removed.'), ...problems },
      },
    },
    async (request, reply) => {
      await engine.removeWebhook(request.params.name, callerOf(request));
      return reply.code(204).send(null);
    },
  );

  app.post(
    '/v1/webhooks/:name/rotate',
    {
      config,
      schema: {
        operationId: 'rotateWebhook',
        tags,
        summary: 'Make a new secret for a webhook',
        description: 'For a day messages carry two signatures, of the new secret and the one before.',
        params: nameParams,
        response: { 200: webhookCreated, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { name } = request.params;
      const secret = await engine.rotateWebhook(name, caller);
      return { ...(await getWebhook(prisma, { projectId: caller.projectId, name })), secret };
    },
  );

  app.post(
    '/v1/webhooks/:name/test',
    {
      config,
      schema: {
        operationId: 'testWebhook',
        tags,
        summary: 'Send the event webhook.test',
        description:
          'The response is the delivery, which is sent within seconds: read it again for the answer. It is tried for ten minutes.',
        params: nameParams,
        response: { 202: outgoingDeliveryView, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { name } = request.params;
      const id = await engine.testWebhook(name, caller);
      return reply.code(202).send(await deliveryOf(caller.projectId, name, id));
    },
  );

  app.get(
    '/v1/webhooks/:name/deliveries',
    {
      config,
      schema: {
        operationId: 'listWebhookDeliveries',
        tags,
        summary: 'List the messages of a webhook and their outcomes, newest first',
        description: 'Those that ended are kept for 30 days, and at most 10,000 of them.',
        params: nameParams,
        querystring: outgoingDeliveryListQuery,
        response: { 200: outgoingDeliveryPage, ...problems },
      },
    },
    async (request) => {
      const { id } = await getWebhook(prisma, { projectId: callerOf(request).projectId, name: request.params.name });
      return listOutgoingDeliveries(prisma, { target: id, ...request.query });
    },
  );

  app.get(
    '/v1/webhooks/:name/deliveries/:delivery',
    {
      config,
      schema: {
        operationId: 'getWebhookDelivery',
        tags,
        summary: 'Show the outcome of a message',
        params: deliveryParams,
        response: { 200: outgoingDeliveryView, ...problems },
      },
    },
    (request) => deliveryOf(callerOf(request).projectId, request.params.name, request.params.delivery),
  );

  app.post(
    '/v1/webhooks/:name/deliveries/:delivery/resend',
    {
      config,
      schema: {
        operationId: 'resendDelivery',
        tags,
        summary: 'Send a message again',
        description: 'Its `webhook-id` stays, so a receiver that has handled it can tell.',
        params: deliveryParams,
        response: { 202: outgoingDeliveryView, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { name, delivery } = request.params;
      await engine.resendDelivery(name, delivery, caller);
      return reply.code(202).send(await deliveryOf(caller.projectId, name, delivery));
    },
  );

  async function deliveryOf(projectId: string, name: string, id: string) {
    const { id: target } = await getWebhook(prisma, { projectId, name });
    return getOutgoingDelivery(prisma, { target, id });
  }
}

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
        summary: 'Remove a code host and the reports that wait for it; reports already sent stay there',
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
        summary: 'List the reports to a code host and their outcomes, newest first',
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
