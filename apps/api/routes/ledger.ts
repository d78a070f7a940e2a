import { ledgerPage, ledgerQuery } from '@cairn/contract';
import { readLedger } from '@cairn/db';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

export function ledgerRoutes(app: App, { prisma }: ApiDeps): void {
  app.get(
    '/v1/ledger',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'readLedger',
        tags: ['costs'],
        summary: 'Add up the GPU time of a period',
        description:
          'GPU-seconds (seconds times slots) that attempts held in the period, by one of their properties: useful, lost and why, idle, still ' +
          'running; what waited for room; and what reuse saved. `total` is over all pages.',
        querystring: ledgerQuery,
        response: { 200: ledgerPage, ...problems },
      },
    },
    (request) => readLedger(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );
}
