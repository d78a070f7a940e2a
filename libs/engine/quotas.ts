import { CairnError, liveRunStates } from '@cairn/contract';
import type { PrismaClient, Transaction } from '@cairn/db';
import type { EngineContext } from './context.ts';

const live = { state: { in: liveRunStates } };

/**
 * Refuses one more run when as many of the project or of its owner are not over as may be. Submissions that come at the same
 * moment may pass together: by the few that the api works on at once.
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
    throw new CairnError('quota_exceeded', `${whose} has ${most} runs that are not over, as many as may be (${setting})`, {
      details: { setting, most },
    });
  }
}
