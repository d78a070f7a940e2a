import { randomBytes } from 'node:crypto';
import { CairnError, type WebhookRequest } from '@cairn/contract';
import { inTransaction, isUniqueViolation, type Transaction } from '@cairn/db';
import { newId, requireDeliveryHost } from '@cairn/runtime';
import { audit } from '../audit.ts';
import { toJson } from '../columns.ts';
import type { Actor, EngineContext } from '../engine.ts';
import { addSecret, removeSecrets, replaceSecret } from '../sealed-secrets.ts';
import { announcementOf, messageDays, requireRoom, shownUrl } from './sending.ts';

/** How long the secret before a rotation signs too. */
const rotationMs = 24 * 3_600_000;

/** A secret of Standard Webhooks: 24 to 64 random bytes in base64. */
const newSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;

/**
 * @returns its secret, which is not shown again
 * @throws CairnError `name_taken`, `quota_exceeded`, `forbidden` for a host to which nothing may be sent
 */
export async function addWebhook(ctx: EngineContext, request: WebhookRequest, actor: Actor): Promise<string> {
  requireDeliveryHost(request.url, ctx.limits.deliveryHosts);
  const { projectId } = actor;
  const { name, url, events } = request;
  const [id, secret] = [newId('webhook'), newSecret()];
  try {
    await inTransaction(ctx.prisma, async (tx) => {
      requireRoom('webhooks', await tx.webhook.count({ where: { projectId } }));
      await tx.webhook.createMany({ data: [{ id, projectId, name, url, events, createdBy: actor.name }] });
      await addSecret(ctx, tx, { projectId, ownerId: id }, secret);
      await audit(tx, actor, { action: 'webhook.add', target: name, before: null, after: { url: shownUrl(url), events } });
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new CairnError('name_taken', `Webhook ${name} already exists; remove it first, or choose another name`, { cause: error });
  }
  return secret;
}

/** Removes a webhook, what waits for it, and its log. */
export async function removeWebhook(ctx: EngineContext, name: string, actor: Actor): Promise<void> {
  await inTransaction(ctx.prisma, async (tx) => {
    const { id, url, events } = await requireWebhook(tx, name, actor);
    await tx.webhook.deleteMany({ where: { id } });
    await removeSecrets(tx, { projectId: actor.projectId, ownerId: id });
    const { count: deliveries } = await tx.delivery.deleteMany({ where: { target: id } });
    const before = { url: shownUrl(url), events };
    await audit(tx, actor, { action: 'webhook.remove', target: name, before, after: null, details: { deliveries } });
  });
}

/** Makes a new secret. For a day messages are signed with both, so that the receiver can change over. */
export async function rotateWebhook(ctx: EngineContext, name: string, actor: Actor): Promise<string> {
  const secret = newSecret();
  await inTransaction(ctx.prisma, async (tx) => {
    const { id } = await requireWebhook(tx, name, actor);
    const keepUntil = new Date(Date.now() + rotationMs);
    await replaceSecret(ctx, tx, { projectId: actor.projectId, ownerId: id }, { text: secret, keepUntil });
    await audit(tx, actor, { action: 'webhook.rotate', target: name, before: null, after: { previousSecretUntil: keepUntil } });
  });
  return secret;
}

/** Sends `webhook.test`; returns the id of the delivery. */
export async function testWebhook(ctx: EngineContext, name: string, actor: Actor): Promise<string> {
  const { projectId } = actor;
  return inTransaction(ctx.prisma, async (tx) => {
    const webhook = await requireWebhook(tx, name, actor);
    const at = new Date();
    const { event, subject, body } = announcementOf('webhook.test', {
      subject: name,
      at,
      data: { webhook: name, requestedBy: actor.name },
    });
    // A key of its own: a test waits for no other message.
    const orderKey = `${webhook.id} test ${newId('webhook')}`;
    const giveUpAt = new Date(at.getTime() + 600_000);
    const row = { projectId, kind: 'webhook', target: webhook.id, orderKey, event, subject, body: toJson(body), giveUpAt };
    const { id } = await tx.delivery.create({ data: row, select: { id: true } });
    await audit(tx, actor, { action: 'webhook.test', target: name, before: null, after: { delivery: String(id) } });
    return String(id);
  });
}

/**
 * Sends a message again, at once and with the time for tries that a new one has. Its id stays, so a receiver that has it can tell.
 *
 * @throws CairnError `not_found`
 */
export async function resendDelivery(ctx: EngineContext, name: string, delivery: string, actor: Actor): Promise<void> {
  await inTransaction(ctx.prisma, async (tx) => {
    const { id: target } = await requireWebhook(tx, name, actor);
    const now = new Date();
    const data = {
      state: 'pending',
      notBefore: now,
      failures: 0,
      endedAt: null,
      giveUpAt: new Date(now.getTime() + messageDays * 86_400_000),
    };
    const where = { id: BigInt(delivery), target };
    const row = await tx.delivery.findFirst({ where, select: { state: true } });
    if (row === null) throw new CairnError('not_found', `Webhook ${name} has no delivery ${delivery}; it may be too old`);
    // What is being sent now keeps its lease.
    await tx.delivery.updateMany({ where: { ...where, OR: [{ state: { not: 'pending' } }, { failures: { gt: 0 } }] }, data });
    const change = { before: { state: row.state }, after: { state: 'pending' }, details: { delivery } };
    await audit(tx, actor, { action: 'webhook.resend', target: name, ...change });
  });
}

async function requireWebhook(tx: Transaction, name: string, { projectId }: Actor) {
  const webhook = await tx.webhook.findUnique({ where: { projectId_name: { projectId, name } } });
  if (webhook !== null) return webhook;
  throw new CairnError('not_found', `Webhook ${name} not found; list them with \`cairn webhook list\` or GET /v1/webhooks`);
}
