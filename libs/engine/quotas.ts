import { CairnError, liveRunStates } from '@cairn/contract';
import type { PrismaClient, Transaction } from '@cairn/db';
import type { EngineContext } from './context.ts';

const live = { state: { in: liveRunStates } };

/**
 * Rejects another run when the project or its owner has as many live runs as allowed. Concurrent submissions may exceed the quota by the
 * few that the api handles at the same time.
 *
 * @throws CairnError `quota_exceeded` that names the quota
 */
export async function checkRunQuotas(
  { limits }: EngineContext,
  db: PrismaClient | Transaction,
  run: { projectId: string; owner: string },
): Promise<void> {
  const { projectId, owner } = run;
  const quotas = [
    { most: limits.ownerRuns, where: { projectId, owner }, whose: owner, setting: 'CAIRN_OWNER_RUNS' },
    { most: limits.projectRuns, where: { projectId }, whose: `the project ${projectId}`, setting: 'CAIRN_PROJECT_RUNS' },
  ];
  for (const { most, where, whose, setting } of quotas) {
    if (most === 0 || (await db.run.count({ where: { ...where, ...live } })) < most) continue;
    throw new CairnError('quota_exceeded', `${whose} has ${most} live runs, the maximum (${setting})`, {
      details: { setting, most },
    });
  }
}
