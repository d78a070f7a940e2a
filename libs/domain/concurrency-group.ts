import type { OnNewer } from '@cairn/contract';

/** A live run of a concurrency group. */
export type GroupRun = {
  id: string;
  name: string;
  /** Its place in the group: a run that entered later has a larger one. */
  place: number;
  /** `waiting` in the group, `working` on its steps, or `stopping` after it was cancelled. */
  phase: 'waiting' | 'working' | 'stopping';
  onNewer: OnNewer;
};

export type GroupAction = { type: 'start'; runId: string } | { type: 'supersede'; runId: string; by: Pick<GroupRun, 'id' | 'name'> };

/**
 * What becomes of the runs of a group: of those that wait only the newest stays; it starts when no other run works or stops, and cancels a
 * working one whose policy says so. A run's own policy decides whether it can be cancelled, not that of the newer one. Pure, and [] when
 * nothing is left to do.
 */
export function decideGroup(runs: readonly GroupRun[]): GroupAction[] {
  const waiting = runs.filter(({ phase }) => phase === 'waiting').sort((a, b) => a.place - b.place);
  const newest = waiting.pop();
  if (newest === undefined) return [];
  const by = { id: newest.id, name: newest.name };
  const busy = runs.filter(({ phase }) => phase !== 'waiting');
  const yielding = busy.filter(({ phase, onNewer }) => phase === 'working' && onNewer === 'cancel');
  const superseded = [...waiting, ...yielding].map(({ id }): GroupAction => ({ type: 'supersede', runId: id, by }));
  return busy.length === 0 ? [...superseded, { type: 'start', runId: newest.id }] : superseded;
}
