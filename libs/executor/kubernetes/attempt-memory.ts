import type { FailureSignal } from '@cairn/contract';
import { isPod, type Job, type Pod } from './cluster-objects.ts';

type Identity = { attemptId: string; generation: number };

/** State that the cluster does not keep, or reports too late. Losing it in a restart costs a message, never an attempt. */
export type AttemptMemory = {
  /** The pod has ended: its last state outlives it. */
  ended(identity: Identity, pod: Pod): void;
  endedPod(identity: Identity): Pod | null;
  endedPods(): (Identity & { pod: Pod })[];
  /** True when the object's phase has changed since the last call. */
  changed(identity: Identity, object: Job | Pod): boolean;
  /** Milliseconds since the epoch at which the signal was first queried. */
  firstSeen(identity: Identity, signal: FailureSignal): number;
  /** When an earlier stop will kill the pod, or infinity. */
  killAt(podUid: string): number;
  willBeKilled(podUid: string, at: number): void;
  /** Why a Job has no pod: fetched again only after a while. */
  podlessWhy(identity: Identity, ask: () => Promise<string | null>): Promise<string | null>;
  /** This generation of the attempt is started: what is known of older ones is obsolete. */
  begin(identity: Identity): void;
  forget(attemptId: string): void;
  isForgotten(identity: Identity): boolean;
  /** Drops the notes of attempts that are no longer seen. */
  keepOnly(attemptIds: ReadonlySet<string>): void;
};

const refreshMs = 15_000;
/** Long enough for Kubernetes to remove what was deleted, and for a leader to observe it; a spare never does. */
const keptForMs = 600_000;

export function attemptMemory(): AttemptMemory {
  const pods = new Map<string, Identity & { pod: Pod; at: number }>();
  const phases = new Map<string, string>();
  const seen = new Map<string, Map<FailureSignal, number>>();
  const kills = new Map<string, number>();
  const whys = new Map<string, { at: number; why: string | null }>();
  const forgotten = new Map<string, number>();
  const begun = new Map<string, { generation: number; at: number }>();

  return {
    ended({ attemptId, generation }, pod) {
      kills.delete(pod.metadata.uid);
      for (const [other, { at }] of pods) if (Date.now() - at > keptForMs) pods.delete(other);
      if (generation < (begun.get(attemptId)?.generation ?? 0)) return;
      if (!forgotten.has(attemptId)) pods.set(attemptId, { attemptId, generation, pod, at: pods.get(attemptId)?.at ?? Date.now() });
    },
    endedPod({ attemptId, generation }) {
      const known = pods.get(attemptId);
      return known?.generation === generation ? known.pod : null;
    },
    endedPods: () => [...pods.values()],
    changed({ attemptId }, object) {
      const key = `${attemptId} ${object.metadata.uid}`;
      const phase = phaseOf(object);
      if (phases.get(key) === phase) return false;
      phases.set(key, phase);
      return true;
    },
    firstSeen({ attemptId }, signal) {
      const signals = seen.get(attemptId) ?? new Map<FailureSignal, number>();
      seen.set(attemptId, signals);
      const since = signals.get(signal) ?? Date.now();
      signals.set(signal, since);
      return since;
    },
    killAt: (podUid) => kills.get(podUid) ?? Number.POSITIVE_INFINITY,
    willBeKilled: (podUid, at) => void kills.set(podUid, at),
    async podlessWhy({ attemptId }, ask) {
      const known = whys.get(attemptId);
      if (known && Date.now() - known.at < refreshMs) return known.why;
      const why = await ask();
      whys.set(attemptId, { at: Date.now(), why });
      return why;
    },
    begin({ attemptId, generation }) {
      forgotten.delete(attemptId);
      const known = pods.get(attemptId);
      if (known && known.generation < generation) pods.delete(attemptId);
      if (generation > 1) begun.set(attemptId, { generation, at: Date.now() });
    },
    forget(attemptId) {
      pods.delete(attemptId);
      forgotten.set(attemptId, Date.now());
    },
    isForgotten: ({ attemptId }) => forgotten.has(attemptId),
    keepOnly(attemptIds) {
      for (const map of [seen, whys]) for (const attemptId of map.keys()) if (!attemptIds.has(attemptId)) map.delete(attemptId);
      for (const key of phases.keys()) if (!attemptIds.has(key.split(' ')[0] ?? '')) phases.delete(key);
      for (const [attemptId, at] of forgotten) if (Date.now() - at > keptForMs) forgotten.delete(attemptId);
      for (const [attemptId, { at }] of begun) if (Date.now() - at > keptForMs) begun.delete(attemptId);
      for (const [podUid, at] of kills) if (Date.now() - at > keptForMs) kills.delete(podUid);
    },
  };
}

function phaseOf(object: Job | Pod): string {
  if (!isPod(object)) return object.status?.conditions?.map((condition) => condition.type).join() ?? '';
  const states = object.status?.containerStatuses?.map(({ state }) => state?.waiting?.reason ?? (state?.running ? 'runs' : 'ended'));
  return `${object.status?.phase} ${states?.join() ?? ''}`;
}
