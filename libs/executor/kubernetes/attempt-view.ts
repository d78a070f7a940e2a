import { attemptLabel, generationLabel } from '../attempt-labels.ts';
import type { Job, Pod } from './cluster-objects.ts';
import { isTerminal } from './pod-failure.ts';

/** The cluster's objects of one generation of an attempt. */
export type AttemptView = {
  attemptId: string;
  generation: number;
  job: Job | null;
  pods: Pod[];
};

/** Jobs and pods by the attempt and generation that their labels name. */
export function attemptViews(jobs: readonly Job[], pods: readonly Pod[]): AttemptView[] {
  const views = new Map<string, AttemptView>();
  const viewFor = (object: Job | Pod): AttemptView | null => {
    const identity = identityOf(object);
    if (identity === null) return null;
    const key = `${identity.attemptId}.${identity.generation}`;
    const view = views.get(key) ?? { ...identity, job: null, pods: [] };
    views.set(key, view);
    return view;
  };
  for (const job of jobs) {
    const view = viewFor(job);
    if (view) view.job = job;
  }
  for (const pod of pods) viewFor(pod)?.pods.push(pod);
  return [...views.values()];
}

/** Only the newest generation of each attempt: older ones are ended before it starts. */
export function newestViews(jobs: readonly Job[], pods: readonly Pod[]): AttemptView[] {
  const newest = new Map<string, AttemptView>();
  for (const view of attemptViews(jobs, pods)) {
    if ((newest.get(view.attemptId)?.generation ?? -1) < view.generation) newest.set(view.attemptId, view);
  }
  return [...newest.values()];
}

export function identityOf(object: Job | Pod): { attemptId: string; generation: number } | null {
  const attemptId = object.metadata.labels?.[attemptLabel];
  const generation = Number(object.metadata.labels?.[generationLabel]);
  return attemptId && Number.isInteger(generation) ? { attemptId, generation } : null;
}

/** True when nothing is left of it that could run. */
export function isOver(view: AttemptView): boolean {
  return view.job === null && view.pods.every(isTerminal);
}
