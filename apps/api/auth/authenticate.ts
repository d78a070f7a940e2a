import { CairnError, type TokenRole, tokenRole } from '@cairn/contract';
import type { PrismaClient, Token } from '@cairn/db';
import type { Actor } from '@cairn/engine';
import type { SharedReads } from '../load/load-limits.ts';
import type { Credential } from './credential.ts';
import { hashSecret } from './secrets.ts';

/** The caller, the role of its token, and when the token or the session ends. */
export type Caller = Actor & { tokenId: string; address: string; role: TokenRole; expiresAt: Date | null };

/** `lastUsedAt` is updated at most this often. */
const lastUsedEveryMs = 60_000;

/**
 * The caller that a token or a session identifies. Looked up for every request, so that a revoked token and its sessions are rejected at
 * once.
 *
 * @throws CairnError `unauthenticated`
 */
export async function authenticate(
  prisma: PrismaClient,
  shared: SharedReads,
  { credential, address }: { credential: Credential | null; address: string },
  now = new Date(),
): Promise<Caller> {
  if (credential === null) throw new CairnError('unauthenticated', 'The request has no token');
  const { kind, secret } = credential;
  if (secret.startsWith('cat_')) throw new CairnError('unauthenticated', 'This token of an attempt is valid for /internal only');
  const hash = hashSecret(secret);
  const { token, session } = await shared(`${kind} ${hash}`, () => lookUp[kind](prisma, hash));
  const { name, projectId, id: tokenId } = token;
  const over = token.revokedAt !== null ? `was revoked at ${token.revokedAt.toISOString()}` : expiryOf(token, now);
  if (over !== null) throw new RefusedToken(`The token ${name} ${over}`, { name, projectId, tokenId, address });
  if (session !== null && session.expiresAt <= now)
    throw new CairnError('unauthenticated', `The session ended at ${session.expiresAt.toISOString()}; sign in again`);
  if (token.lastUsedAt === null || now.getTime() - token.lastUsedAt.getTime() >= lastUsedEveryMs) {
    await prisma.token.updateMany({ where: { id: token.id }, data: { lastUsedAt: now } });
  }
  // A session ends with its token at the latest.
  const { expiresAt } = session ?? token;
  return { name, projectId, tokenId, address, role: tokenRole.parse(token.role), expiresAt };
}

type Found = { token: Token; session: { expiresAt: Date } | null };

const lookUp: Record<Credential['kind'], (prisma: PrismaClient, hash: string) => Promise<Found>> = {
  async token(prisma, hash) {
    const token = await prisma.token.findUnique({ where: { hash } });
    if (token === null) throw new CairnError('unauthenticated', 'Unknown token');
    return { token, session: null };
  },
  async session(prisma, hash) {
    const found = await prisma.session.findUnique({ where: { hash }, include: { token: true } });
    if (found === null) throw new CairnError('unauthenticated', 'The session has ended; sign in again');
    return { token: found.token, session: found };
  },
};

const expiryOf = ({ expiresAt }: { expiresAt: Date | null }, now: Date): string | null =>
  expiresAt !== null && expiresAt <= now ? `expired at ${expiresAt.toISOString()}` : null;

/** A known token that has expired or was revoked. */
export class RefusedToken extends CairnError {
  readonly holder: Actor & { tokenId: string };

  constructor(message: string, holder: Actor & { tokenId: string }) {
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
