import { Prisma, type Transaction } from '@cairn/db';
import { toJson } from './columns.ts';
import type { Actor } from './engine.ts';

/** The audited action: the resource and the verb. */
export type AuditAction =
  | 'run.submit'
  | 'run.cancel'
  | 'run.retry'
  | 'run.release'
  | 'run.pin'
  | 'run.unpin'
  | 'run.judge'
  | 'run.annotate'
  | 'view.save'
  | 'view.remove'
  | 'dataset.add'
  | 'schedule.add'
  | 'schedule.pause'
  | 'schedule.resume'
  | 'schedule.remove'
  | 'weights.import'
  | 'weights.remove'
  | 'alias.set'
  | 'alias.rollback'
  | 'alias.remove'
  | 'webhook.add'
  | 'webhook.remove'
  | 'webhook.rotate'
  | 'webhook.test'
  | 'webhook.resend'
  | 'code-host.add'
  | 'code-host.token'
  | 'code-host.remove'
  | 'token.create'
  | 'token.revoke'
  | 'session.start'
  | 'session.end'
  | 'garbage.collect'
  | 'secrets.reseal'
  | 'trigger.add'
  | 'trigger.remove'
  | 'trigger.rotate'
  | 'delivery.release'
  | 'retention.set'
  | 'budget.set'
  | 'budget.remove'
  | 'call.refused';

export type AuditChange = {
  action: AuditAction;
  /** The id of the changed resource. */
  target: string;
  /** Its changed fields, before and after; null where it did not exist or no longer exists. */
  before: object | null;
  after: object | null;
  /** Further details, such as a reason. */
  details?: object;
};

/** Records who changed what, and from where, in the transaction of the change: either both are stored or neither. */
export async function audit(tx: Transaction, actor: Actor, { action, target, before, after, details = {} }: AuditChange): Promise<void> {
  const { projectId, name, tokenId, address } = actor;
  const column = (value: object | null) => (value === null ? Prisma.DbNull : toJson(value));
  // createMany, because it reads nothing back.
  await tx.auditEntry.createMany({
    data: [
      { projectId, actor: name, tokenId, address, action, target, before: column(before), after: column(after), details: toJson(details) },
    ],
  });
}
