import { CairnError } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';

/** Quotas for imported weights, by number and by bytes, of a project and of one owner; 0: unlimited. */
export type WeightsQuotas = { projectCount: number; ownerCount: number; projectBytes: number; ownerBytes: number };

type Wanted = { projectId: string; owner: string; name: string; bytes: number };

export type WeightsQuota = {
  /**
   * Reserves quota for a file until it is stored or has failed; returns a function that releases it.
   *
   * @throws CairnError `quota_exceeded` that names the quota
   */
  reserve(wanted: Wanted): Promise<() => void>;
};

const gigabyte = 1e9;

/** Quota for imported weights. Uploads in progress in this replica count too, so that concurrent uploads cannot exceed it together. */
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
      // The name itself is not counted, so that existing weights can be sent again.
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
        throw full(`${scope.whose} has ${_count + others.length} of at most ${scope.count} imported weights`, `CAIRN_${scope.of}_WEIGHTS`);
      if (scope.bytes > 0 && held + bytes > scope.bytes)
        throw full(
          `${scope.whose} has ${(held / gigabyte).toFixed(1)} of at most ${scope.bytes / gigabyte} GB of imported weights, and this file has ${(bytes / gigabyte).toFixed(1)} GB`,
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
