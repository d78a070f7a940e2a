import { CairnError } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';

/** The most of imported weights, by number and by bytes, of a project and of one owner; 0: any. */
export type WeightsQuotas = { projectCount: number; ownerCount: number; projectBytes: number; ownerBytes: number };

type Wanted = { projectId: string; owner: string; name: string; bytes: number };

export type WeightsQuota = {
  /**
   * Sets room for a file aside until it is a row or has failed; answers how to give it back.
   *
   * @throws CairnError `quota_exceeded` that names the quota
   */
  reserve(wanted: Wanted): Promise<() => void>;
};

const gigabyte = 1e9;

/** Room for imported weights. What this replica has under way counts too, so that files sent at once cannot pass together. */
export function createWeightsQuota(prisma: PrismaClient, quotas: WeightsQuotas): WeightsQuota {
  const reserved = new Set<Wanted>();

  async function check(wanted: Wanted): Promise<void> {
    const { projectId, owner, name, bytes } = wanted;
    const scopes = [
      { whose: owner, where: { projectId, owner }, count: quotas.ownerCount, bytes: quotas.ownerBytes, of: 'OWNER' },
      { whose: `the project ${projectId}`, where: { projectId }, count: quotas.projectCount, bytes: quotas.projectBytes, of: 'PROJECT' },
    ];
    for (const scope of scopes) {
      if (scope.count === 0 && scope.bytes === 0) continue;
      // The name itself is not counted: what is there may be sent again.
      const { _count, _sum } = await prisma.weights.aggregate({
        where: { ...scope.where, NOT: { name } },
        _count: true,
        _sum: { bytes: true },
      });
      const others = [...reserved].filter(
        (one) => one !== wanted && one.projectId === projectId && (scope.of === 'PROJECT' || one.owner === owner),
      );
      const held = others.reduce((sum, one) => sum + one.bytes, Number(_sum.bytes ?? 0));
      if (scope.count > 0 && _count + others.length >= scope.count)
        throw full(`${scope.whose} has ${_count + others.length} imported weights of at most ${scope.count}`, `CAIRN_${scope.of}_WEIGHTS`);
      if (scope.bytes > 0 && held + bytes > scope.bytes)
        throw full(
          `${scope.whose} has ${(held / gigabyte).toFixed(1)} GB of imported weights of at most ${scope.bytes / gigabyte} GB, and this file has ${(bytes / gigabyte).toFixed(1)} GB`,
          `CAIRN_${scope.of}_WEIGHTS_GB`,
        );
    }
  }

  return {
    async reserve(wanted) {
      const mine = { ...wanted };
      reserved.add(mine);
      try {
        await check(mine);
      } catch (error) {
        reserved.delete(mine);
        throw error;
      }
      return () => void reserved.delete(mine);
    },
  };
}

const full = (message: string, setting: string): CairnError =>
  new CairnError('quota_exceeded', `${message} (${setting})`, {
    details: {
      setting,
      remedy: 'Remove weights that are not needed with `cairn weights remove NAME`, or ask the operator to raise the quota.',
    },
  });
