import { type ShardGrid, type ShardState, shardState } from '@cairn/contract';
import type { Look } from '../../parts/looks.ts';

export const shardLooks = {
  pending: { label: 'Open', icon: 'clock', colour: 'gray' },
  leased: { label: 'In work', icon: 'play', colour: 'blue' },
  committed: { label: 'Committed', icon: 'check', colour: 'green' },
} as const satisfies Record<ShardState, Look>;

export type Shard = {
  index: number;
  state: ShardState;
  /** The ordinal of the attempt that has it. */
  worker: number | null;
  seconds: number | null;
  rejected: number;
  tries: number;
};

/** One shard of a grid. */
export function shardOf(grid: ShardGrid, index: number): Shard {
  const worker = grid.attempts[grid.workers[index] ?? -1];
  const tenths = grid.tenths[index] ?? -1;
  return {
    index,
    state: shardState.options[grid.states[index] ?? 0] ?? 'pending',
    worker: worker?.ordinal ?? null,
    seconds: tenths < 0 ? null : tenths / 10,
    rejected: grid.rejected[index] ?? 0,
    tries: grid.tries[index] ?? 0,
  };
}

/** A shard as a sentence: `Shard 12: committed by worker 3 in 41.2 s, 2 images rejected, after 2 tries`. */
export function describeShard({ index, state, worker, seconds, rejected, tries }: Shard): string {
  const parts = [`Shard ${index}: ${shardLooks[state].label.toLowerCase()}${worker === null ? '' : ` by worker ${worker}`}`];
  if (seconds !== null) parts[0] += ` in ${seconds.toFixed(1)} s`;
  if (rejected > 0) parts.push(`${rejected} ${rejected === 1 ? 'image' : 'images'} rejected`);
  if (tries > 1) parts.push(`after ${tries} tries`);
  return parts.join(', ');
}
