import type { FleetView } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { isoTime } from './columns.ts';
import { type AdmissionView, loadAdmission } from './waiting.ts';

/** Who leads, and how busy the pools are, over all projects. A step that two pools could take counts as waiting for both. */
export async function loadFleet(
  db: Transaction,
  admissionSource: () => Promise<AdmissionView> = () => loadAdmission(db),
): Promise<FleetView> {
  const pools = await db.pool.findMany({ orderBy: [{ position: 'asc' }, { name: 'asc' }] });
  const { leader, waiting } = await admissionSource();
  const idle = waiting.waiting.filter((step) => step.live === 0);
  return {
    leader: leader.isAlive ? { holder: leader.holder, epoch: leader.epoch, expiresAt: isoTime(leader.expiresAt) } : null,
    pools: pools.map(({ name, executor, slots }) => ({
      name,
      executor,
      slots,
      busy: waiting.running.filter((attempt) => attempt.pool === name).reduce((sum, attempt) => sum + attempt.slots, 0),
      waiting: idle.filter((step) => (step.pool === 'tasks') === (name === 'tasks') && step.slots <= slots).length,
    })),
  };
}
