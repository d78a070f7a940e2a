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
  /** They do not change. */
  evaluation: (of: string, ...more: readonly unknown[]) => ['evaluation', of, ...more],
  noImage: (dataset: string, imageId: string, split: string | undefined) => ['no-image', dataset, imageId, split],
  datasets: ['datasets'],
  ledger: ['ledger'],
  schedules: ['schedules'],
  triggers: ['triggers'],
  webhooks: ['webhooks'],
  codeHosts: ['code-hosts'],
  retention: ['retention'],
  secrets: ['secrets'],
  tokens: ['tokens'],
  audit: ['audit'],
  views: ['views'],
  run: (runId: string) => ['run', runId],
  /** `part` is a hint's `what` (`metrics`, `logs`, `shards`), or `events` or `timeline`, which change with the run itself. */
  runPart: (runId: string, part: string, ...more: readonly unknown[]) => ['run', runId, part, ...more],
} as const satisfies Record<string, QueryKey | ((...parts: never[]) => QueryKey)>;

/** Cached answers: the one of this key, or all whose key begins with it. */
export type Outdated = {
  queryKey: QueryKey;
  exact: boolean;
  /** Lists that were read with this position are as new as the stream. */
  unlessAt?: string;
};

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

/** Everything of a topic, but for lists of runs that were read at `position`. */
export function outdatedOfTopic(topic: string, position?: string): Outdated[] {
  // A run that succeeds may have registered a model.
  if (topic === 'runs')
    return [
      { queryKey: keys.runs, exact: false, ...(position === undefined ? {} : { unlessAt: position }) },
      ...all(keys.attention, keys.models, keys.datasets, keys.schedules, keys.triggers),
    ];
  if (topic === 'fleet') return all(keys.fleet, keys.attention);
  return topic.startsWith('run:') ? all(keys.run(topic.slice('run:'.length))) : [];
}
