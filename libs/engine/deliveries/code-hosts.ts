import { createPrivateKey } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { CairnError, type CodeHostRequest, type CodeHostToken } from '@cairn/contract';
import { inTransaction, isUniqueViolation, type Transaction } from '@cairn/db';
import { newId, requireDeliveryHost } from '@cairn/runtime';
import { audit } from '../audit.ts';
import type { Actor, EngineContext } from '../engine.ts';
import { addSecret, removeSecrets, replaceSecret } from '../sealed-secrets.ts';
import { requireRoom } from './sending.ts';

/** @throws CairnError `name_taken`, `quota_exceeded`, `invalid_request` for an address that would send the token in the clear, `forbidden` */
export async function addCodeHost(ctx: EngineContext, request: CodeHostRequest, actor: Actor): Promise<void> {
  const { name, provider, repositories, token, app } = request;
  if (app !== undefined) requireRsaKey(app.privateKey);
  const appId = app?.id ?? null;
  const url = request.url.replace(/\/+$/, '');
  requireEncryption(url);
  requireDeliveryHost(url, ctx.limits.deliveryHosts);
  const { projectId } = actor;
  const id = newId('codeHost');
  try {
    await inTransaction(ctx.prisma, async (tx) => {
      requireRoom('code hosts', await tx.codeHost.count({ where: { projectId } }));
      await tx.codeHost.createMany({ data: [{ id, projectId, name, provider, url, repositories, appId, createdBy: actor.name }] });
      await addSecret(ctx, tx, { projectId, ownerId: id }, app?.privateKey ?? token ?? '');
      const after = { provider, url, repositories, ...(appId !== null && { appId }) };
      await audit(tx, actor, { action: 'code-host.add', target: name, before: null, after });
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new CairnError('name_taken', `Code host ${name} already exists; remove it first, or choose another name`, { cause: error });
  }
}

/**
 * Replaces the token, or the private key of the app; what failed for the old one is tried with the new one at once.
 *
 * @throws CairnError `not_found`; `invalid_request` for a token where an app reports, the reverse, or a key that cannot be read
 */
export async function replaceCodeHostToken(
  ctx: EngineContext,
  name: string,
  { token, privateKey }: CodeHostToken,
  actor: Actor,
): Promise<void> {
  if (privateKey !== undefined) requireRsaKey(privateKey);
  await inTransaction(ctx.prisma, async (tx) => {
    const { id, appId } = await requireCodeHost(tx, name, actor);
    if ((appId === null) !== (privateKey === undefined))
      throw new CairnError(
        'invalid_request',
        appId === null ? `Code host ${name} is reported to with a token` : `Code host ${name} is reported to as the GitHub App ${appId}`,
        {
          details: {
            remedy: appId === null ? 'Give its new token (--token-file).' : "Give the app's new private key (--private-key-file).",
          },
        },
      );
    await replaceSecret(ctx, tx, { projectId: actor.projectId, ownerId: id }, { text: privateKey ?? token ?? '', keepUntil: null });
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

/** What GitHub signs in with; found out before the first report fails. */
function requireRsaKey(privateKey: string): void {
  const type = keyTypeOf(privateKey);
  if (type === 'rsa') return;
  throw new CairnError(
    'invalid_request',
    type === null ? 'The private key cannot be read' : `The private key is of the type ${type}, not rsa`,
    {
      details: { remedy: 'Use the file that GitHub gave for the app (its page, Private keys), as it is.' },
    },
  );
}

function keyTypeOf(privateKey: string): string | null {
  try {
    return createPrivateKey(privateKey).asymmetricKeyType ?? null;
  } catch {
    return null;
  }
}

async function requireCodeHost(tx: Transaction, name: string, { projectId }: Actor) {
  const host = await tx.codeHost.findUnique({ where: { projectId_name: { projectId, name } } });
  if (host !== null) return host;
  throw new CairnError('not_found', `Code host ${name} not found; list them with \`cairn codehost list\` or GET /v1/code-hosts`);
}
