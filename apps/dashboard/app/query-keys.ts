import type { Hint } from '@cairn/contract';
import type { QueryKey } from '@tanstack/react-query';

/** The keys of cached answers. What a message of the event stream makes out of date is found by their beginnings. */
export const keys = {
  me: ['me'],
  attention: ['attention'],
  fleet: ['fleet'],
  recipes: ['recipes'],
  runs: ['runs'],
  models: ['models'],
  ledger: ['ledger'],
  run: (runId: string) => ['run', runId],
  /** `part` is a hint's `what` (`metrics`, `logs`, `shards`), or `events` or `timeline`, which change with the run itself. */
  runPart: (runId: string, part: string, ...more: readonly unknown[]) => ['run', runId, part, ...more],
} as const satisfies Record<string, QueryKey | ((...parts: never[]) => QueryKey)>;

/** Cached answers: the one of this key, or all whose key begins with it. */
export type Outdated = { queryKey: QueryKey; exact: boolean };

const all = (...queryKeys: QueryKey[]): Outdated[] => queryKeys.map((queryKey) => ({ queryKey, exact: false }));

/** What a hint makes out of date. A part that reports often (`metrics`, `logs`, `shards`) does not reload the rest of its run. */
export function outdatedByHint({ topic, runId, what }: Hint): Outdated[] {
  if (!topic.startsWith('run:')) return outdatedOfTopic(topic);
  if (runId === undefined) return outdatedOfTopic(topic);
  if (what === 'run' || what === 'progress') return [{ queryKey: keys.run(runId), exact: true }];
  return all(keys.runPart(runId, what));
}

/** What an event of a run's history makes out of date. */
export const outdatedByEvent = (runId: string): Outdated[] => [
  { queryKey: keys.run(runId), exact: true },
  ...all(keys.runPart(runId, 'events'), keys.runPart(runId, 'timeline')),
];

/** Everything of a topic. */
export function outdatedOfTopic(topic: string): Outdated[] {
  // A run that succeeds may have registered a model.
  if (topic === 'runs') return all(keys.runs, keys.attention, keys.models);
  if (topic === 'fleet') return all(keys.fleet, keys.attention);
  return topic.startsWith('run:') ? all(keys.run(topic.slice('run:'.length))) : [];
}
