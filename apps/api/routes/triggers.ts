import {
  CairnError,
  callerActions,
  deliveryPage,
  deliveryQuery,
  hookAnswer,
  idOf,
  pageQuery,
  rotateRequest,
  safeName,
  type TriggerView,
  triggerCreated,
  triggerPage,
  triggerRequest,
  triggerView,
  whyNotOwner,
} from '@cairn/contract';
import { listDeliveries, listTriggers, readTrigger } from '@cairn/db';
import { z } from 'zod';
import { type Caller, requireRole } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import { type App, nameParams, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

export function triggerRoutes(app: App, { prisma, engine }: ApiDeps): void {
  const tags = ['triggers'];
  const config = { role: 'viewer' } as const;
  const change = { role: callerActions['trigger.manage'] } as const;

  async function viewOf({ projectId }: Caller, name: string): Promise<TriggerView> {
    const view = await readTrigger(prisma, { projectId, name });
    if (view !== null) return view;
    throw new CairnError('not_found', `Trigger ${name} not found; list the triggers with \`cairn trigger list\``);
  }

  app.get(
    '/v1/triggers',
    {
      config,
      schema: {
        operationId: 'listTriggers',
        tags,
        summary: 'List triggers by name',
        querystring: pageQuery,
        response: { 200: triggerPage, ...problems },
      },
    },
    (request) => listTriggers(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.post(
    '/v1/triggers',
    {
      config: change,
      schema: {
        operationId: 'addTrigger',
        tags,
        summary: 'Add a trigger',
        description:
          'Only this response contains its `secret`, which the sender signs with. Runs belong to the caller. The submission is checked now, and ' +
          'again when a delivery starts it.',
        body: triggerRequest,
        response: { 201: triggerCreated, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { secret } = await engine.addTrigger(request.body, caller);
      return reply.code(201).send({ ...(await viewOf(caller, request.body.name)), secret });
    },
  );

  app.get(
    '/v1/triggers/:name',
    {
      config,
      schema: {
        operationId: 'getTrigger',
        tags,
        summary: 'Show a trigger',
        params: nameParams,
        response: { 200: triggerView, ...problems },
      },
    },
    (request) => viewOf(callerOf(request), request.params.name),
  );

  app.delete(
    '/v1/triggers/:name',
    {
      config: change,
      schema: {
        operationId: 'removeTrigger',
        tags,
        summary: 'Remove a trigger with its deliveries',
        description: 'Only an admin can remove a trigger of another owner. Runs that it started stay.',
        params: nameParams,
        response: { 204: z.null().describe('It was removed.'), ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      await engine.removeTrigger(request.params.name, caller, mayManage(caller));
      return reply.code(204).send(null);
    },
  );

  app.post(
    '/v1/triggers/:name/rotate',
    {
      config: change,
      schema: {
        operationId: 'rotateTrigger',
        tags,
        summary: 'Make a new secret for a trigger',
        description: 'Only this response contains the new `secret`. The earlier one is accepted for `keepHours` more.',
        params: nameParams,
        body: rotateRequest.prefault({}),
        response: { 200: triggerCreated, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      const { name } = request.params;
      const { secret } = await engine.rotateTrigger(name, request.body, caller, mayManage(caller));
      return { ...(await viewOf(caller, name)), secret };
    },
  );

  app.get(
    '/v1/triggers/:name/deliveries',
    {
      config,
      schema: {
        operationId: 'listDeliveries',
        tags,
        summary: 'List what was delivered to a trigger in the last week, newest first',
        params: nameParams,
        querystring: deliveryQuery,
        response: { 200: deliveryPage, ...problems },
      },
    },
    async (request) => {
      const { id } = await viewOf(callerOf(request), request.params.name);
      return listDeliveries(prisma, { triggerId: id, ...request.query });
    },
  );

  app.post(
    '/v1/triggers/:name/deliveries/:id/release',
    {
      config: { role: callerActions['delivery.release'] },
      schema: {
        operationId: 'releaseDelivery',
        tags,
        summary: 'Start the run of a held delivery',
        description: 'Pull requests from forks are held, because their authors may be anyone.',
        params: z.object({ name: safeName, id: idOf('hookDelivery') }),
        response: { 200: hookAnswer, ...problems },
      },
    },
    (request) => engine.releaseDelivery(request.params.name, request.params.id, callerOf(request)),
  );
}

const mayManage =
  (caller: Caller) =>
  ({ name, owner }: { name: string; owner: string }): void => {
    if (whyNotOwner(owner, caller) !== null) requireRole(caller, 'admin', `the trigger ${name} belongs to ${owner}`);
  };
