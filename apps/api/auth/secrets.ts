import { randomBytes } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import { isUniqueViolation, type PrismaClient } from '@cairn/db';
import { newId, sha256 } from '@cairn/runtime';

/** A new bearer token: 256 random bits. It is shown once; only its hash is kept. */
export const newSecret = (): string => `cairn_${randomBytes(32).toString('base64url')}`;

/**
 * What is kept of a token. A plain SHA-256 is enough for 256 random bits, and looking the hash up tells nothing by its time:
 * who guesses does not choose the hash.
 */
export const hashSecret = (secret: string): string => sha256(secret);

const name = 'bootstrap';
const projectId = 'default';

/**
 * Makes the token `bootstrap` (admin) that of this secret: the configured one is there from the first start on, and a
 * changed one takes the place of the one before. Safe with several replicas that start at once. A revoked one stays revoked: that
 * was an admin's decision, and the service does its work without it.
 *
 * @returns since when the secret is revoked; null when it is good
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
      // Another replica was faster: look again.
      if (tries < 3 && isUniqueViolation(error)) continue;
      throw error;
    }
  }
}

const refused = (other: string): CairnError =>
  new CairnError('invalid_configuration', `CAIRN_ADMIN_TOKEN cannot be used: it is the token ${other}. Set a new one, or leave it out`);
