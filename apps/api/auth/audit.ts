import type { Prisma, PrismaClient } from '@cairn/db';
import type { Caller } from './authenticate.ts';

/** What was done: the resource and the verb. */
export type AuditAction =
  | 'run.submit'
  | 'run.cancel'
  | 'run.retry'
  | 'dataset.add'
  | 'weights.import'
  | 'weights.remove'
  | 'token.create'
  | 'token.revoke'
  | 'garbage.collect'
  | 'call.refused';

/** Writes down who changed what. Called after the change, which is not undone when this fails: the caller gets the error. */
export async function recordAudit(
  prisma: PrismaClient,
  caller: Pick<Caller, 'projectId' | 'name' | 'tokenId'>,
  action: AuditAction,
  target: string,
  details: Prisma.InputJsonObject = {},
): Promise<void> {
  // Of many, for that reads nothing back.
  await prisma.auditEntry.createMany({
    data: [{ projectId: caller.projectId, actor: caller.name, tokenId: caller.tokenId, action, target, details }],
  });
}
