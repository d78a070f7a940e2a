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
 * What becomes of the runs of a group: of those that wait only the newest stays, and none that is older than one that works, which can be if
 * it was held for another reason. It starts when no other run works or stops, and cancels a working one whose policy says so. A run's own
 * policy decides whether it can be cancelled, not that of the newer one. Pure, and [] when nothing is left to do.
 */
export function decideGroup(runs: readonly GroupRun[]): GroupAction[] {
  const byPlace = (phase: GroupRun['phase']) => runs.filter((run) => run.phase === phase).sort((a, b) => a.place - b.place);
  const [waiting, working] = [byPlace('waiting'), byPlace('working')];
  const newest = waiting.at(-1);
  if (newest === undefined) return [];
  const newestWorking = working.at(-1);
  const supersede = (some: readonly GroupRun[], { id, name }: GroupRun) =>
    some.map((run): GroupAction => ({ type: 'supersede', runId: run.id, by: { id, name } }));
  if (newestWorking !== undefined && newestWorking.place > newest.place) return supersede(waiting, newestWorking);
  const superseded = supersede([...waiting.slice(0, -1), ...working.filter(({ onNewer }) => onNewer === 'cancel')], newest);
  const isFree = runs.every(({ phase }) => phase === 'waiting');
  return isFree ? [...superseded, { type: 'start', runId: newest.id }] : superseded;
}
