import type { WaitingReason } from '@cairn/contract';
import type { PoolCapacity, PoolState, RunningAttempt, WaitingStep } from './admit.ts';

// The sentences that tell why a step waits and for whom: the same in the API, the CLI and the dashboard.

export type Reason = Omit<WaitingReason, 'since'>;

/** A step as people know it. */
export const labelOf = (step: WaitingStep): string => `${step.name} of ${step.runName}`;

/** No pool can hold the step, whatever runs. `candidates` are the pools of its kind; a controller that has just started has recorded none. */
export function noPool(step: WaitingStep, pools: readonly PoolCapacity[], candidates: readonly PoolCapacity[]): Reason {
  if (pools.length === 0) return { code: 'launching', sentence: 'the controller has not reported its pools yet' };
  if (candidates.length === 0) return { code: 'capacity', sentence: 'no pool is configured for it' };
  const largest = Math.max(...candidates.map((pool) => pool.attemptSlots ?? pool.slots));
  return { code: 'capacity', sentence: `it needs ${step.slots} slots at once, and the largest pool gives an attempt ${largest}` };
}

/** Who is ahead, what that needs, and how many others wait in between. */
export function behindHead(pool: PoolState, { step, slots, behind: others }: NonNullable<PoolState['head']>): string {
  const needs =
    pool.freeSlots < slots ? `${slots} of the ${pool.slots} slots of pool ${pool.name}` : `room in pool ${pool.name} (${machines(pool)})`;
  return `it waits behind ${labelOf(step)}, which needs ${needs}${others > 0 ? `, and behind ${others} more` : ''}`;
}

/** The step is the next in the pool: what is free there, and who has the rest. */
export function noRoom(pool: PoolState, slots: number, running: readonly RunningAttempt[]): string {
  const holders = [...new Set(running.filter((attempt) => attempt.pool === pool.name).map((attempt) => attempt.label))];
  const named = `${holders.slice(0, 2).join(' and ')}${holders.length > 2 ? ` and ${holders.length - 2} more` : ''}`;
  const isOne = holders.length === 1;
  if (pool.freeSlots >= slots) {
    const ours = holders.length === 0 ? '' : `; ${named} ${isOne ? 'runs' : 'run'} there`;
    return `no machine of pool ${pool.name} can hold it now: ${machines(pool)}${ours}`;
  }
  const free = Math.max(0, pool.freeSlots);
  const rest = holders.length === 0 ? '' : `; ${named} ${isOne ? 'holds' : 'hold'} the rest`;
  return `it needs ${slots} slot${slots === 1 ? '' : 's'} of pool ${pool.name}, where ${free} of ${pool.slots} are free${rest}`;
}

/** Machines that a sentence names; a cluster may have hundreds. */
const mostMachines = 4;

function machines({ room }: PoolCapacity): string {
  const sentences = room?.sentences ?? [];
  const more = sentences.length - mostMachines;
  return [...sentences.slice(0, mostMachines), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}
