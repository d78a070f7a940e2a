import { attentionView, fleetView, fleetWork } from '@cairn/contract';
import { loadFleet, loadFleetWork, readAttention } from '@cairn/db';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

export function fleetRoutes(app: App, { prisma, admission }: ApiDeps): void {
  app.get(
    '/v1/fleet',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getFleet',
        tags: ['fleet'],
        summary: 'Show the leader and how busy the pools are',
        response: { 200: fleetView, ...problems },
      },
    },
    () => loadFleet(prisma, admission),
  );

  app.get(
    '/v1/fleet/work',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getFleetWork',
        tags: ['fleet'],
        summary: 'Show who holds slots, what waits for them and why, and the queues',
        description: 'At most 200 attempts and 200 waiting steps, with the totals.',
        response: { 200: fleetWork, ...problems },
      },
    },
    () => loadFleetWork(prisma, admission),
  );

  app.get(
    '/v1/attention',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getAttention',
        tags: ['fleet'],
        summary: 'List what needs a person',
        description:
          'Runs that failed in the last week, steps that have waited for 15 minutes, attempts and nodes that are not well, and a controller that is ' +
          'not there. At most 50 of each.',
        response: { 200: attentionView, ...problems },
      },
    },
    (request) => readAttention(prisma, { projectId: callerOf(request).projectId, admission }),
  );
}
