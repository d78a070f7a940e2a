import type { FleetView, PoolRoom } from '@cairn/contract';
import { slotsIn } from '@cairn/domain';
import type { Transaction } from '../client.ts';
import { isoTime, readNullable, roomColumn } from './columns.ts';
import { type AdmissionView, loadAdmission } from './waiting.ts';

/** The leader, and how busy the pools are, over all projects. A step that fits two pools counts as waiting for both. */
export async function loadFleet(
  db: Transaction,
  admissionSource: () => Promise<AdmissionView> = () => loadAdmission(db),
): Promise<FleetView> {
  const pools = await db.pool.findMany({ orderBy: [{ position: 'asc' }, { name: 'asc' }] });
  const { leader, waiting } = await admissionSource();
  const idle = waiting.waiting.filter((step) => step.live === 0);
  return {
    leader: leader.isAlive ? { holder: leader.holder, epoch: leader.epoch, expiresAt: isoTime(leader.expiresAt) } : null,
    pools: pools.map(({ name, executor, slots, attemptSlots, room }) => ({
      name,
      executor,
      slots,
      busy: waiting.running.filter((attempt) => attempt.pool === name).reduce((sum, attempt) => sum + attempt.slots, 0),
      waiting: idle.filter((step) => (step.pool === 'tasks') === (name === 'tasks') && slotsIn({ slots, attemptSlots }, step) !== null)
        .length,
      room: roomOf(readNullable(roomColumn, room, `pool ${name} room`)),
    })),
  };
}

function roomOf(room: PoolRoom | null): FleetView['pools'][number]['room'] {
  return room === null ? null : { fits: room.fits, sentences: room.sentences };
}
