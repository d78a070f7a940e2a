import { CairnError, maxViews, type ViewRequest } from '@cairn/contract';
import { inTransaction } from '@cairn/db';
import { audit } from './audit.ts';
import type { Actor, EngineContext } from './engine.ts';

/**
 * Saves or changes a view of the actor.
 *
 * @throws CairnError `invalid_request` when the actor has as many views as allowed
 */
export async function saveView(
  { prisma }: EngineContext,
  name: string,
  { page, query, isShared }: ViewRequest,
  actor: Actor,
): Promise<void> {
  const { projectId, name: owner } = actor;
  await inTransaction(prisma, async (tx) => {
    // Two new views of an owner follow each other, so that both are counted.
    await tx.$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`views ${projectId} ${owner}`}, 0))`;
    const where = { projectId_owner_name: { projectId, owner, name } };
    const found = await tx.savedView.findUnique({ where });
    if (found === null && (await tx.savedView.count({ where: { projectId, owner } })) >= maxViews)
      throw new CairnError('invalid_request', `${owner} has ${maxViews} views, the maximum`, {
        details: { remedy: 'Remove a view first: `cairn view list` lists them.' },
      });
    const before = found && { page: found.page, query: found.query, isShared: found.isShared };
    const after = { page, query, isShared };
    if (before !== null && before.page === page && before.query === query && before.isShared === isShared) return;
    await tx.savedView.upsert({
      where,
      create: { projectId, owner, name, ...after },
      update: { ...after, updatedAt: new Date() },
      select: { name: true },
    });
    await audit(tx, actor, { action: 'view.save', target: name, before, after });
  });
}

/**
 * Removes a view of an owner.
 *
 * @throws CairnError `not_found`
 */
export async function removeView({ prisma }: EngineContext, { owner, name }: { owner: string; name: string }, actor: Actor): Promise<void> {
  const { projectId } = actor;
  await inTransaction(prisma, async (tx) => {
    const where = { projectId, owner, name };
    const found = await tx.savedView.findFirst({ where: { ...where, ...(owner === actor.name ? {} : { isShared: true }) } });
    if (found === null) throw new CairnError('not_found', `${owner} has no view ${name}; list the views with \`cairn view list\``);
    await tx.savedView.deleteMany({ where });
    const before = { page: found.page, query: found.query, isShared: found.isShared };
    await audit(tx, actor, { action: 'view.remove', target: name, before, after: null, details: { owner } });
  });
}
