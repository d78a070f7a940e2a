import { CairnError, type SecretKeyList } from '@cairn/contract';
import { inTransaction, type Transaction } from '@cairn/db';
import { newId } from '@cairn/runtime';
import { audit } from './audit.ts';
import type { Actor, EngineContext } from './engine.ts';

/** The row that a secret belongs to, such as a trigger. */
export type SecretOwner = { projectId: string; ownerId: string };

type Row = { id: string; projectId: string; ownerId: string };
/** Authenticated with the secret: someone who can write rows cannot give one row's secret to another. */
const identityOf = ({ projectId, ownerId, id }: Row): string => `${projectId} ${ownerId} ${id}`;

/** Stores another secret of a row, sealed. */
export async function addSecret({ secretKeys }: EngineContext, tx: Transaction, owner: SecretOwner, text: string): Promise<void> {
  const row = { id: newId('secret'), ...owner };
  const { keyId, sealed } = secretKeys.seal(text, identityOf(row));
  await tx.sealedSecret.createMany({ data: [{ ...row, keyId, sealed: Uint8Array.from(sealed) }] });
}

/** Stores a new secret of a row. The earlier one is accepted until `keepUntil`; null: no longer. */
export async function replaceSecret(
  ctx: EngineContext,
  tx: Transaction,
  owner: SecretOwner,
  { text, keepUntil }: { text: string; keepUntil: Date | null },
): Promise<void> {
  // Of several rotations within the time only the newest earlier secret stays, so that a row has at most two.
  await tx.sealedSecret.deleteMany({ where: { ...owner, ...(keepUntil === null ? {} : { expiresAt: { not: null } }) } });
  if (keepUntil !== null) await tx.sealedSecret.updateMany({ where: owner, data: { expiresAt: keepUntil } });
  await addSecret(ctx, tx, owner, text);
}

export async function removeSecrets(tx: Transaction, owner: SecretOwner): Promise<void> {
  await tx.sealedSecret.deleteMany({ where: owner });
}

/**
 * The secrets of a row that are accepted now, the current one first.
 *
 * @throws CairnError `invalid_configuration` where the key of one is missing
 */
export async function openSecrets({ secretKeys }: EngineContext, db: Transaction, owner: SecretOwner): Promise<string[]> {
  const rows = await db.sealedSecret.findMany({
    where: { ...owner, OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }] },
    orderBy: { expiresAt: { sort: 'desc', nulls: 'first' } },
    // One more than there can be.
    take: 3,
  });
  return rows.map((row) => secretKeys.open(row, identityOf(row)));
}

/** The keys in use or configured, with how many secrets each seals. */
export async function listSecretKeys({ prisma, secretKeys }: EngineContext, projectId: string): Promise<SecretKeyList> {
  const used = await prisma.sealedSecret.groupBy({ by: ['keyId'], where: { projectId }, _count: true, orderBy: { keyId: 'asc' } });
  const secretsOf = (keyId: string) => used.find((row) => row.keyId === keyId)?._count ?? 0;
  const older = used.map((row) => row.keyId).filter((keyId) => keyId !== secretKeys.newest);
  return {
    items: [
      { keyId: secretKeys.newest, state: 'seals', secrets: secretsOf(secretKeys.newest) },
      ...older.map((keyId) => ({
        keyId,
        state: secretKeys.has(keyId) ? ('opens' as const) : ('missing' as const),
        secrets: secretsOf(keyId),
      })),
    ],
  };
}

/**
 * Seals every secret of the project with the newest key. Repeatable: what is sealed with it already is left alone.
 *
 * @throws CairnError `invalid_configuration` where a key is missing; those before are resealed
 */
export async function resealSecrets(ctx: EngineContext, actor: Actor, { together = 500 } = {}): Promise<void> {
  const { projectId } = actor;
  const { newest } = ctx.secretKeys;
  for (let count = together; count === together; ) {
    count = await inTransaction(ctx.prisma, async (tx) => {
      // Locked: a rotation at the same moment must not be overwritten.
      const rows = await tx.$queryRaw<(Row & { keyId: string; sealed: Uint8Array })[]>`
        select id, project_id as "projectId", owner_id as "ownerId", key_id as "keyId", sealed from sealed_secret
        where project_id = ${projectId} and key_id <> ${newest} order by id limit ${together} for update`;
      if (rows.length > 0) {
        const sealed = rows.map((row) => ctx.secretKeys.seal(open(ctx, row), identityOf(row)).sealed);
        await tx.$executeRaw`
          update sealed_secret s set key_id = ${newest}, sealed = n.sealed
          from unnest(${rows.map((row) => row.id)}::text[], ${sealed}::bytea[]) as n(id, sealed) where s.id = n.id`;
        const keys = [...new Set(rows.map((row) => row.keyId))];
        const change = { before: { keys }, after: { keys: [newest] }, details: { secrets: rows.length } };
        await audit(tx, actor, { action: 'secrets.reseal', target: newest, ...change });
      }
      return rows.length;
    });
  }
}

function open({ secretKeys }: EngineContext, row: Row & { keyId: string; sealed: Uint8Array }): string {
  try {
    return secretKeys.open(row, identityOf(row));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CairnError('invalid_configuration', `The secret of ${row.ownerId} is not resealed: ${why}`, { cause });
  }
}
