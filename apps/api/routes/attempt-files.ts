import { attemptFileList, CairnError, fileName } from '@cairn/contract';
import { getAttempt } from '@cairn/db';
import { tensorBoardFolders } from '@cairn/storage';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, attemptParams, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import type { ApiDeps } from './api-deps.ts';

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
