import { attemptView, logPage, logQuery } from '@cairn/contract';
import { getAttempt, readLog } from '@cairn/db';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { attemptParams, problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

/** A long poll reads the table this often, in case notifications were lost. */
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
          'Continue with `nextOffset` until `end` is true. With `waitSeconds` the request waits while there is nothing new. Pages contain whole ' +
          'characters; `offset` is later than requested where bytes were lost.',
        params: attemptParams,
        querystring: logQuery,
        response: { 200: logPage, ...problems },
      },
    },
    async (request, reply) => {
      const { waitSeconds, ...slice } = request.query;
      const args = { projectId: callerOf(request).projectId, attemptId: request.params.id, ...slice };
      // Many clients that follow a log are at its end and read the same.
      const key = ['log', args.projectId, args.attemptId, args.stream, args.offset, args.limit].join(' ');
      const read = () => load.watchReads(key, () => readLog(prisma, args));
      const signal = closedSignal(reply);
      const until = performance.now() + waitSeconds * 1000;
      let page = await read();
      while (page.text === '' && !page.end && performance.now() < until && !signal.aborted) {
        // Start watching before the table is read again, so that nothing written in between is missed.
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
