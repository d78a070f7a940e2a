import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { budgetList, budgetRequest, budgetScope, callerActions, ledgerPage, ledgerQuery } from '@cairn/contract';
import { exportLedger, readBudgets, readLedger } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import type { ApiDeps } from './api-deps.ts';
import { ledgerCsv, ledgerCsvTitles } from './ledger-csv.ts';

export function costRoutes(app: App, { prisma, engine }: ApiDeps): void {
  const tags = ['costs'];
  const budgetParams = z.object({ scope: budgetScope });
  const budgetsOf = async (projectId: string) => ({
    items: (await readBudgets(prisma, projectId)).map(({ noted: _, ...budget }) => budget),
  });

  app.get(
    '/v1/ledger',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'readLedger',
        tags,
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

  app.get(
    '/v1/ledger.csv',
    {
      config: { role: 'viewer', load: 'transfer' },
      schema: {
        operationId: 'readLedgerCsv',
        tags,
        summary: 'Add up the GPU time of a period, as CSV',
        description: 'All lines of `GET /v1/ledger`, without the total, as RFC 4180 has it.',
        querystring: ledgerQuery.omit({ limit: true, cursor: true }),
        response: { 200: { description: 'The lines.', content: { 'text/csv': { schema: z.any() } } }, ...problems },
      },
    },
    async (request, reply) => {
      const signal = closedSignal(reply);
      const csv = new PassThrough();
      // It may fail before anything reads it; what is sent by then is cut off, so no reader takes it for the whole.
      csv.on('error', () => undefined);
      const { promise: hasBegun, resolve: begun } = Promise.withResolvers<void>();
      const exported = exportLedger(prisma, { projectId: callerOf(request).projectId, ...request.query }, async (rows) => {
        signal.throwIfAborted();
        const hasRoom = csv.write(ledgerCsv(rows));
        begun();
        // A reader that is too slow holds up the query, which has a time limit.
        if (!hasRoom) await once(csv, 'drain', { signal });
      });
      csv.write(ledgerCsvTitles);
      void exported.then(
        () => csv.end(),
        (error: Error) => csv.destroy(error),
      );
      await Promise.race([hasBegun, exported]);
      return reply
        .header('content-type', 'text/csv; charset=utf-8')
        .header('content-disposition', 'attachment; filename="ledger.csv"')
        .send(csv);
    },
  );

  app.get(
    '/v1/budgets',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listBudgets',
        tags,
        summary: 'List the budgets with what counts against them',
        response: { 200: budgetList, ...problems },
      },
    },
    (request) => budgetsOf(callerOf(request).projectId),
  );

  app.put(
    '/v1/budgets/:scope',
    {
      config: { role: callerActions['budget.manage'] },
      schema: {
        operationId: 'setBudget',
        tags,
        summary: 'Set or change a budget',
        description:
          'Of the runs of an owner (`owner:anna`) or with a label (`label:team=search`). Once it is spent, new runs are held until an admin ' +
          'releases them. Attempts that run are not stopped.',
        params: budgetParams,
        body: budgetRequest,
        response: { 200: budgetList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.setBudget(request.params.scope, request.body, caller);
      return budgetsOf(caller.projectId);
    },
  );

  app.delete(
    '/v1/budgets/:scope',
    {
      config: { role: callerActions['budget.manage'] },
      schema: {
        operationId: 'removeBudget',
        tags,
        summary: 'Remove a budget',
        description: 'Runs that it held stay held.',
        params: budgetParams,
        response: { 200: budgetList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.removeBudget(request.params.scope, caller);
      return budgetsOf(caller.projectId);
    },
  );
}
