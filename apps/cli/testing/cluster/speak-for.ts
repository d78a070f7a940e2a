import { randomUUID } from 'node:crypto';
import { createInternalClient, type InternalClient } from '@cairn/client';
import { stepVersions } from '@cairn/contract';
import { attemptToken } from '@cairn/runtime';
import type { OpenService } from './cluster-service.ts';

/** A client that acts for the agent of an attempt, and has said that it runs. */
export async function speakFor({ service }: Pick<OpenService, 'service'>, attemptId: string): Promise<InternalClient> {
  const { internalUrl, home: files } = service;
  const client = createInternalClient({
    urls: [internalUrl],
    attemptId,
    generation: 1,
    token: attemptToken(files.serverKey, attemptId, 1),
    signal: AbortSignal.timeout(300_000),
  });
  await client.start({ host: 'test', pid: 1, instance: randomUUID(), version: 'test', stepVersions });
  return client;
}
