import { randomBytes } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import { isUniqueViolation, type PrismaClient } from '@cairn/db';
import { newId, sha256 } from '@cairn/runtime';

/** A new bearer token: 256 random bits. It is shown once; only its hash is stored. */
export const newSecret = (): string => `cairn_${randomBytes(32).toString('base64url')}`;

/** A new session's cookie: as random as a token, and none. */
export const newSessionSecret = (): string => `session_${randomBytes(32).toString('base64url')}`;

/**
 * The stored form of a token or a session. A plain SHA-256 is enough for 256 random bits, and the lookup by hash leaks nothing through timing: an
 * attacker does not choose the hash.
 */
export const hashSecret = (secret: string): string => sha256(secret);

const name = 'bootstrap';
const projectId = 'default';

/**
 * Gives the token `bootstrap` (admin) this secret: the configured token exists from the first start, and a changed secret replaces the
 * previous one. Safe with several replicas that start at the same time. A revoked token stays revoked: that was an admin's decision, and
 * the service works without it.
 *
 * @returns when the secret was revoked; null when it is valid
 * @throws CairnError `invalid_configuration` when the secret is another token's
 */
export async function ensureBootstrapToken(prisma: PrismaClient, secret: string): Promise<Date | null> {
  const hash = hashSecret(secret);
  for (let tries = 1; ; tries += 1) {
    const holder = await prisma.token.findUnique({ where: { hash } });
    if (holder !== null && (holder.name !== name || holder.projectId !== projectId)) throw refused(holder.name);
    if (holder !== null) return holder.revokedAt;
    const replaced = await prisma.token.updateMany({
      where: { projectId, name, revokedAt: null },
      data: { hash, role: 'admin', expiresAt: null },
    });
    if (replaced.count > 0) return null;
    try {
      await prisma.token.create({ data: { id: newId('token'), projectId, name, role: 'admin', hash } });
      return null;
    } catch (error) {
      // Another replica was faster: read again.
      if (tries < 3 && isUniqueViolation(error)) continue;
      throw error;
    }
  }
}

const refused = (other: string): CairnError =>
  new CairnError('invalid_configuration', `CAIRN_ADMIN_TOKEN cannot be used: it is the token ${other}. Set a new one, or unset it`);
