import { fleetView } from '@cairn/contract';
import { loadFleet } from '@cairn/db';
import type { App } from '../http/bare-app.ts';
import { problems } from '../http/route-schemas.ts';
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
}
