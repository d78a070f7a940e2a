import { attemptView, logPage, logQuery } from '@cairn/contract';
import { getAttempt, readLog } from '@cairn/db';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { attemptParams, problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

/** A waiting reader looks by itself this often, for notifications that were lost. */
const pollEveryMs = 5_000;

export function attemptRoutes(app: App, { prisma, feed, load }: ApiDeps): void {
  const tags = ['attempts'];
  const config = { role: 'viewer' } as const;

  app.get(
    '/v1/attempts/:id',
    {
      config,
      schema: {
        operationId: 'getAttempt',
        tags,
        summary: 'Show an attempt',
        params: attemptParams,
        response: { 200: attemptView, ...problems },
      },
    },
    (request) => getAttempt(prisma, { projectId: callerOf(request).projectId, attemptId: request.params.id }),
  );

  app.get(
    '/v1/attempts/:id/logs',
    {
      config: { ...config, load: 'watch' },
      schema: {
        operationId: 'readLog',
        tags,
        summary: "Read or follow one stream of an attempt's log",
        description:
          'Go on with `nextOffset` until `end` is true. With `waitSeconds` the answer is held back while there is nothing new. Pages hold whole ' +
          'characters; `offset` is later than asked where bytes were lost.',
        params: attemptParams,
        querystring: logQuery,
        response: { 200: logPage, ...problems },
      },
    },
    async (request, reply) => {
      const { waitSeconds, ...slice } = request.query;
      const args = { projectId: callerOf(request).projectId, attemptId: request.params.id, ...slice };
      // Many who follow one log stand at its end and ask for the same.
      const key = ['log', args.projectId, args.attemptId, args.stream, args.offset, args.limit].join(' ');
      const read = () => load.watchReads(key, () => readLog(prisma, args));
      const signal = closedSignal(reply);
      const until = performance.now() + waitSeconds * 1000;
      let page = await read();
      while (page.text === '' && !page.end && performance.now() < until && !signal.aborted) {
        // Watching begins before the table is read again: what is written in between is not missed.
        const watch = feed.watchStep(page.runId, page.stepId);
        try {
          page = await read();
          if (page.text !== '' || page.end) break;
          await watch.changed(Math.max(0, Math.min(pollEveryMs, until - performance.now())), signal);
          page = await read();
        } finally {
          watch.end();
        }
      }
      return page;
    },
  );
}
