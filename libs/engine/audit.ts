import { Prisma, type Transaction } from '@cairn/db';
import type { Actor } from './engine.ts';
import { toJson } from './json.ts';

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

export type AuditChange = {
  action: AuditAction;
  /** The id of what was changed. */
  target: string;
  /** What of it changed, as it was and as it is now; null where it was not there, or is not any more. */
  before: object | null;
  after: object | null;
  /** What else there is to know, such as a reason. */
  details?: object;
};

/** Writes down who changed what, from where. In the transaction that makes the change: either both are there or neither. */
export async function audit(tx: Transaction, actor: Actor, { action, target, before, after, details = {} }: AuditChange): Promise<void> {
  const { projectId, name, tokenId, address } = actor;
  const column = (value: object | null) => (value === null ? Prisma.DbNull : toJson(value));
  // Of many, for that reads nothing back.
  await tx.auditEntry.createMany({
    data: [
      { projectId, actor: name, tokenId, address, action, target, before: column(before), after: column(after), details: toJson(details) },
    ],
  });
}
