import { isIPv4 } from 'node:net';
import { CairnError, type CodeHostRequest } from '@cairn/contract';
import { inTransaction, isUniqueViolation, type Transaction } from '@cairn/db';
import { newId, requireDeliveryHost } from '@cairn/runtime';
import { audit } from '../audit.ts';
import type { Actor, EngineContext } from '../engine.ts';
import { addSecret, removeSecrets, replaceSecret } from '../sealed-secrets.ts';
import { requireRoom } from './sending.ts';

/** @throws CairnError `name_taken`, `quota_exceeded`, `invalid_request` for an address that would send the token in the clear, `forbidden` */
export async function addCodeHost(ctx: EngineContext, request: CodeHostRequest, actor: Actor): Promise<void> {
  const { name, provider, repositories, token } = request;
  const url = request.url.replace(/\/+$/, '');
  requireEncryption(url);
  requireDeliveryHost(url, ctx.limits.deliveryHosts);
  const { projectId } = actor;
  const id = newId('codeHost');
  try {
    await inTransaction(ctx.prisma, async (tx) => {
      requireRoom('code hosts', await tx.codeHost.count({ where: { projectId } }));
      await tx.codeHost.createMany({ data: [{ id, projectId, name, provider, url, repositories, createdBy: actor.name }] });
      await addSecret(ctx, tx, { projectId, ownerId: id }, token);
      await audit(tx, actor, { action: 'code-host.add', target: name, before: null, after: { provider, url, repositories } });
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new CairnError('name_taken', `Code host ${name} already exists; remove it first, or choose another name`, { cause: error });
  }
}

/** Replaces the token; what failed for the old one is tried with the new one at once. */
export async function replaceCodeHostToken(ctx: EngineContext, name: string, token: string, actor: Actor): Promise<void> {
  await inTransaction(ctx.prisma, async (tx) => {
    const { id } = await requireCodeHost(tx, name, actor);
    await replaceSecret(ctx, tx, { projectId: actor.projectId, ownerId: id }, { text: token, keepUntil: null });
    // The pause was for the old token.
    await tx.codeHost.updateMany({ where: { id }, data: { pausedUntil: null } });
    await tx.delivery.updateMany({ where: { target: id, state: 'pending', failures: { gt: 0 } }, data: { notBefore: new Date() } });
    await audit(tx, actor, { action: 'code-host.token', target: name, before: null, after: null });
  });
}

/** Removes a code host with what waits for it and its log. Reports already sent stay there. */
export async function removeCodeHost(ctx: EngineContext, name: string, actor: Actor): Promise<void> {
  await inTransaction(ctx.prisma, async (tx) => {
    const { id, provider, url, repositories } = await requireCodeHost(tx, name, actor);
    await tx.codeHost.deleteMany({ where: { id } });
    await removeSecrets(tx, { projectId: actor.projectId, ownerId: id });
    await tx.delivery.deleteMany({ where: { target: id } });
    await audit(tx, actor, { action: 'code-host.remove', target: name, before: { provider, url, repositories }, after: null });
  });
}

/** A token is sent in each request. Only on this machine nobody else can read it. */
function requireEncryption(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.')))
    return;
  throw new CairnError('invalid_request', `The token would be sent to ${hostname} unencrypted`, {
    details: { remedy: 'Use the https address of the code host.' },
  });
}

async function requireCodeHost(tx: Transaction, name: string, { projectId }: Actor) {
  const host = await tx.codeHost.findUnique({ where: { projectId_name: { projectId, name } } });
  if (host !== null) return host;
  throw new CairnError('not_found', `Code host ${name} not found; list them with \`cairn codehost list\` or GET /v1/code-hosts`);
}
