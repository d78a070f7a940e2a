import {
  attemptFileList,
  attemptView,
  CairnError,
  fileName,
  logLines,
  logLinesQuery,
  logMatches,
  logPage,
  logQuery,
  logSearchQuery,
} from '@cairn/contract';
import { getAttempt, readLog, readLogLines, searchLog } from '@cairn/db';
import { tensorBoardFolders } from '@cairn/storage';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, attemptParams, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
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

  const logOf = (request: FastifyRequest, attemptId: string) => ({ projectId: callerOf(request).projectId, attemptId });

  app.get(
    '/v1/attempts/:id/logs/lines',
    {
      config,
      schema: {
        operationId: 'readLogLines',
        tags,
        summary: "Read lines of an attempt's log by number",
        description:
          'From the line `from`, from the line that holds the byte `offset`, or the last ones. The lines of a log that exceeded its size limit are ' +
          'those that were kept; a link to a line should use its `offset`, which does not change.',
        params: attemptParams,
        querystring: logLinesQuery,
        response: { 200: logLines, ...problems },
      },
    },
    (request) => readLogLines(prisma, { ...logOf(request, request.params.id), ...request.query }),
  );

  app.get(
    '/v1/attempts/:id/logs/search',
    {
      config,
      schema: {
        operationId: 'searchLog',
        tags,
        summary: "Search an attempt's log",
        description: 'Lines that contain `q`, in any case. Continue with `from` = `next` until it is null.',
        params: attemptParams,
        querystring: logSearchQuery,
        response: { 200: logMatches, ...problems },
      },
    },
    (request) => searchLog(prisma, { ...logOf(request, request.params.id), ...request.query }),
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
          'characters; `offset` is later than requested where bytes were lost. `tail` starts near the end, `size` is where it is.',
        params: attemptParams,
        querystring: logQuery,
        response: { 200: logPage, ...problems },
      },
    },
    async (request, reply) => {
      const { waitSeconds, ...slice } = request.query;
      const args = { projectId: callerOf(request).projectId, attemptId: request.params.id, ...slice };
      // Many clients that follow a log are at its end and read the same.
      const key = ['log', args.projectId, args.attemptId, args.stream, args.offset, args.tail ?? '', args.limit].join(' ');
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

const fileParams = attemptParams.extend({ name: fileName });

/** TensorBoard event files of training attempts. */
export function attemptFileRoutes(app: App, { prisma, store }: ApiDeps): void {
  const tags = ['attempts'];
  const config = { role: 'viewer' } as const;
  /** The first folder of an attempt that contains any file, or else the last. */
  const folderOf = async (projectId: string, attemptId: string, signal: AbortSignal): Promise<string> => {
    await getAttempt(prisma, { projectId, attemptId });
    const { staged, kept } = tensorBoardFolders(attemptId);
    for await (const _ of store.list(kept, signal)) return kept;
    return staged;
  };

  app.get(
    '/v1/attempts/:id/tensorboard',
    {
      config,
      schema: {
        operationId: 'listTensorBoardFiles',
        tags,
        summary: "List an attempt's event files for TensorBoard",
        description: 'They are stored when the trainer has ended; only training steps have event files.',
        params: attemptParams,
        response: { 200: attemptFileList, ...problems },
      },
    },
    async (request, reply) => {
      const signal = closedSignal(reply);
      const folder = await folderOf(callerOf(request).projectId, request.params.id, signal);
      const items = [];
      for await (const { key, bytes, modifiedAt } of store.list(folder, signal)) {
        const name = key.slice(folder.length + 1);
        // Other files of the attempt there are not served.
        if (fileName.safeParse(name).success) items.push({ name, bytes, modifiedAt: modifiedAt.toISOString() });
      }
      return { items };
    },
  );

  app.get(
    '/v1/attempts/:id/tensorboard/:name',
    {
      config: { ...config, load: 'transfer' },
      schema: {
        operationId: 'readTensorBoardFile',
        tags,
        summary: 'Download one event file for TensorBoard',
        params: fileParams,
        response: { 200: z.any().describe('The bytes of the file.'), ...problems },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const signal = closedSignal(reply);
      const folder = await folderOf(callerOf(request).projectId, request.params.id, signal);
      const found = await store.head(`${folder}/${name}`, signal);
      if (found === null) throw new CairnError('not_found', `attempt ${request.params.id} has no event file ${name}`);
      const bytes = await store.get(`${folder}/${name}`, { signal });
      return reply
        .header('content-type', 'application/octet-stream')
        .header('content-length', found.bytes)
        .header('content-disposition', `attachment; filename="${name}"`)
        .send(bytes);
    },
  );
}
