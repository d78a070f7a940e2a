import { randomBytes } from 'node:crypto';
import { CairnError, codeHostEvents, submitRequest, type TriggerRequest } from '@cairn/contract';
import { inTransaction, isUniqueViolation, type Transaction } from '@cairn/db';
import { newId } from '@cairn/runtime';
import { audit } from '../audit.ts';
import { checkSubmission } from '../check-submission.ts';
import { toJson } from '../columns.ts';
import type { Actor, EngineContext } from '../engine.ts';
import { addSecret, removeSecrets, replaceSecret } from '../sealed-secrets.ts';
import type { MayManage } from './bound-trigger.ts';

/** Most triggers of a project. */
const maxTriggers = 1_000;

/**
 * Stores a trigger and its secret, which only this returns.
 *
 * @throws CairnError `name_taken`, `quota_exceeded`, `invalid_request` (a filter that can never work), and what a submission of the
 *   run would throw
 */
export async function addTrigger(ctx: EngineContext, request: TriggerRequest, actor: Actor): Promise<{ secret: string }> {
  refuseUselessFilter(request);
  await checkSubmission(ctx, submitRequest.parse(request.run), { projectId: actor.projectId, mayStartLater: true });
  const { projectId, name: owner } = actor;
  const { name, provider, run, filter, group: groupTemplate, onNewer } = request;
  const id = newId('trigger');
  const secret = newHookSecret();
  await inTransaction(ctx.prisma, async (tx) => {
    if ((await tx.trigger.count({ where: { projectId } })) >= maxTriggers)
      throw new CairnError('quota_exceeded', `The project has ${maxTriggers} triggers, the maximum; remove one first`);
    const row = { id, projectId, owner, name, provider, run: toJson(run), filter: toJson(filter), groupTemplate, onNewer };
    await tx.trigger.createMany({ data: [row] });
    await addSecret(ctx, tx, { projectId, ownerId: id }, secret);
    await audit(tx, actor, { action: 'trigger.add', target: name, before: null, after: { ...request } });
  }).catch((error: unknown) => {
    if (!isUniqueViolation(error)) throw error;
    throw new CairnError('name_taken', `Trigger ${name} already exists; choose another name, or remove it first`, { cause: error });
  });
  return { secret };
}

/** 256 random bits in the form that Standard Webhooks and GitLab's signing tokens have. GitHub takes any text. */
const newHookSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;

function refuseUselessFilter({ provider, filter }: TriggerRequest): void {
  const unknown = filter.events.filter((event) => !codeHostEvents.some((known) => known === event));
  if (provider !== 'standard' && unknown.length > 0)
    throw new CairnError(
      'invalid_request',
      `The event "${unknown[0]}" is not one of ${codeHostEvents.join(', ')}; only triggers of the provider standard have others`,
    );
  if (filter.paths.length > 0 && !filter.events.some((event) => event !== 'pull_request' && event !== 'tag'))
    throw new CairnError('invalid_request', 'The filter has paths but not the event push: other deliveries do not list the changed files');
}

/** A trigger by name, until the transaction ends. */
async function lockTrigger(tx: Transaction, name: string, { projectId }: Actor, mayManage: MayManage) {
  const [row] = await tx.$queryRaw<{ id: string; name: string; owner: string; provider: string }[]>`
    select id, name, owner, provider from trigger where name = ${name} and project_id = ${projectId} for update`;
  if (row === undefined) throw noTrigger(name);
  mayManage(row);
  return row;
}

export const noTrigger = (name: string): CairnError =>
  new CairnError('not_found', `Trigger ${name} not found; list the triggers with \`cairn trigger list\``);

/** Removes a trigger with its secret and its deliveries; runs that it started stay. */
export async function removeTrigger({ prisma }: EngineContext, name: string, actor: Actor, mayManage: MayManage): Promise<void> {
  await inTransaction(prisma, async (tx) => {
    const { id, owner, provider } = await lockTrigger(tx, name, actor, mayManage);
    await removeSecrets(tx, { projectId: actor.projectId, ownerId: id });
    await tx.trigger.deleteMany({ where: { id } });
    await audit(tx, actor, { action: 'trigger.remove', target: name, before: { name, owner, provider }, after: null });
  });
}

/** Makes a new secret, which only this returns. The earlier one is accepted for some hours more. */
export async function rotateTrigger(
  ctx: EngineContext,
  name: string,
  { keepHours }: { keepHours: number },
  actor: Actor,
  mayManage: MayManage,
): Promise<{ secret: string }> {
  const text = newHookSecret();
  const keepUntil = keepHours === 0 ? null : new Date(Date.now() + keepHours * 3_600_000);
  await inTransaction(ctx.prisma, async (tx) => {
    const { id } = await lockTrigger(tx, name, actor, mayManage);
    await replaceSecret(ctx, tx, { projectId: actor.projectId, ownerId: id }, { text, keepUntil });
    await audit(tx, actor, { action: 'trigger.rotate', target: name, before: null, after: { earlierSecretUntil: keepUntil } });
  });
  return { secret: text };
}
