import { CairnError, type TokenRole, tokenRole } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import type { Actor } from '@cairn/engine';
import type { SharedReads } from '../load/shared-reads.ts';
import { hashSecret } from './secrets.ts';

/** Who calls: a token's name, project and role. */
export type Caller = Actor & { tokenId: string; role: TokenRole };

/** `lastUsedAt` is written at most this often. */
const lastUsedEveryMs = 60_000;

/** The secret of an Authorization header, or null when there is none. */
export function bearerOf(authorization: string | undefined): string | null {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? null;
}

/**
 * The caller that a bearer token stands for. Looked up for every request, so that a revoked token is refused at once.
 *
 * @throws CairnError `unauthenticated`
 */
export async function authenticate(
  prisma: PrismaClient,
  shared: SharedReads,
  authorization: string | undefined,
  now = new Date(),
): Promise<Caller> {
  const secret = bearerOf(authorization);
  if (secret === null) throw new CairnError('unauthenticated', 'The request has no token');
  if (secret.startsWith('cat_'))
    throw new CairnError('unauthenticated', 'This is the token of an attempt, which is good for /internal only');
  const hash = hashSecret(secret);
  const token = await shared(`token ${hash}`, () => prisma.token.findUnique({ where: { hash } }));
  if (token === null) throw new CairnError('unauthenticated', 'There is no such token');
  if (token.revokedAt !== null)
    throw new CairnError('unauthenticated', `The token ${token.name} was revoked at ${token.revokedAt.toISOString()}`);
  if (token.expiresAt !== null && token.expiresAt <= now) {
    throw new CairnError('unauthenticated', `The token ${token.name} expired at ${token.expiresAt.toISOString()}`);
  }
  if (token.lastUsedAt === null || now.getTime() - token.lastUsedAt.getTime() >= lastUsedEveryMs) {
    await prisma.token.updateMany({ where: { id: token.id }, data: { lastUsedAt: now } });
  }
  return { name: token.name, projectId: token.projectId, tokenId: token.id, role: tokenRole.parse(token.role) };
}

/** @throws CairnError `forbidden` that names the role the call needs */
export function requireRole(caller: Caller, needed: TokenRole): void {
  const rank = (role: TokenRole) => tokenRole.options.indexOf(role);
  if (rank(caller.role) >= rank(needed)) return;
  throw new CairnError('forbidden', `The token ${caller.name} has the role ${caller.role}; this call needs the role ${needed}`, {
    details: { role: caller.role, needed },
  });
}
