import { CairnError } from '@cairn/contract';
import { isUniqueViolation, type PrismaClient } from '@cairn/db';
import { newId } from '@cairn/runtime';
import { hashSecret } from './secrets.ts';

const name = 'bootstrap';
const projectId = 'default';

/**
 * Makes the token `bootstrap` (admin) that of this secret: the configured one is there from the first start on, and a
 * changed one takes the place of the one before. Safe with several replicas that start at once.
 *
 * @throws CairnError `invalid_configuration` when the secret was revoked or is another token's
 */
export async function ensureBootstrapToken(prisma: PrismaClient, secret: string): Promise<void> {
  const hash = hashSecret(secret);
  for (let tries = 1; ; tries += 1) {
    const holder = await prisma.token.findUnique({ where: { hash } });
    if (holder !== null && (holder.revokedAt !== null || holder.name !== name || holder.projectId !== projectId)) throw refused(holder);
    if (holder !== null) return;
    const replaced = await prisma.token.updateMany({
      where: { projectId, name, revokedAt: null },
      data: { hash, role: 'admin', expiresAt: null },
    });
    if (replaced.count > 0) return;
    try {
      await prisma.token.create({ data: { id: newId('token'), projectId, name, role: 'admin', hash } });
      return;
    } catch (error) {
      // Another replica was faster: look again.
      if (tries < 3 && isUniqueViolation(error)) continue;
      throw error;
    }
  }
}

function refused(holder: { name: string; revokedAt: Date | null }): CairnError {
  const why = holder.revokedAt === null ? `it is the token ${holder.name}` : `it was revoked at ${holder.revokedAt.toISOString()}`;
  return new CairnError('invalid_configuration', `CAIRN_ADMIN_TOKEN cannot be used: ${why}. Set a new one, or leave it out`);
}
