import { CairnError, type TokenRole, tokenRole } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import type { Actor } from '@cairn/engine';
import type { SharedReads } from '../load/load-limits.ts';
import { hashSecret } from './secrets.ts';

/** The caller, and the role of its token. */
export type Caller = Actor & { role: TokenRole };

/** `lastUsedAt` is updated at most this often. */
const lastUsedEveryMs = 60_000;

/** The secret of an Authorization header, or null when there is none. */
export function bearerOf(authorization: string | undefined): string | null {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? null;
}

/**
 * The caller that a bearer token identifies. Looked up for every request, so that a revoked token is rejected at once.
 *
 * @throws CairnError `unauthenticated`
 */
export async function authenticate(
  prisma: PrismaClient,
  shared: SharedReads,
  { authorization, address }: { authorization: string | undefined; address: string },
  now = new Date(),
): Promise<Caller> {
  const secret = bearerOf(authorization);
  if (secret === null) throw new CairnError('unauthenticated', 'The request has no token');
  if (secret.startsWith('cat_')) throw new CairnError('unauthenticated', 'This token of an attempt is valid for /internal only');
  const hash = hashSecret(secret);
  const token = await shared(`token ${hash}`, () => prisma.token.findUnique({ where: { hash } }));
  if (token === null) throw new CairnError('unauthenticated', 'Unknown token');
  const { name, projectId, id: tokenId } = token;
  const over = token.revokedAt !== null ? `was revoked at ${token.revokedAt.toISOString()}` : expiryOf(token, now);
  if (over !== null) throw new RefusedToken(`The token ${name} ${over}`, { name, projectId, tokenId, address });
  if (token.lastUsedAt === null || now.getTime() - token.lastUsedAt.getTime() >= lastUsedEveryMs) {
    await prisma.token.updateMany({ where: { id: token.id }, data: { lastUsedAt: now } });
  }
  return { name, projectId, tokenId, address, role: tokenRole.parse(token.role) };
}

const expiryOf = ({ expiresAt }: { expiresAt: Date | null }, now: Date): string | null =>
  expiresAt !== null && expiresAt <= now ? `expired at ${expiresAt.toISOString()}` : null;

/** A known token that has expired or was revoked. */
export class RefusedToken extends CairnError {
  readonly holder: Actor;

  constructor(message: string, holder: Actor) {
    super('unauthenticated', message);
    this.holder = holder;
  }
}

/**
 * @param why why the role is required, if the route alone does not require it
 * @throws CairnError `forbidden` that names the role the call needs
 */
export function requireRole(caller: Caller, needed: TokenRole, why?: string): void {
  const rank = (role: TokenRole) => tokenRole.options.indexOf(role);
  if (rank(caller.role) >= rank(needed)) return;
  throw new CairnError(
    'forbidden',
    `The token ${caller.name} has the role ${caller.role}; this call requires the role ${needed}${why === undefined ? '' : `: ${why}`}`,
    {
      details: { role: caller.role, needed },
    },
  );
}
