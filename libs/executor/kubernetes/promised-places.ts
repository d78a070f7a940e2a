import type { PoolRoom } from '@cairn/contract';
import { type AttemptView, identityOf, isOver } from './attempt-view.ts';
import type { Pod } from './cluster-objects.ts';
import type { NodeFit } from './node-fit.ts';
import { isTerminal } from './pod-failure.ts';

export type Promised = {
  /** Attempts that are to run in the pool, whether their Job was made or not. */
  live: ReadonlySet<string>;
  views: readonly AttemptView[];
  /** The pool's pods that have a node and have not ended, from the same look as the nodes' free places. */
  placed: readonly Pod[];
};

/** What is free once every attempt has its node that is to run and has none yet. Pure. */
export function withoutPromised({ fits, sentences }: NodeFit, { live, views, placed }: Promised): PoolRoom {
  const withNode = new Set(placed.map((pod) => identityOf(pod)?.attemptId));
  const ended = new Set(views.filter((view) => view.pods.length > 0 && view.pods.every(isTerminal)).map((view) => view.attemptId));
  const wanting = new Set([...live, ...views.filter((view) => !isOver(view)).map((view) => view.attemptId)]);
  const promised = [...wanting].filter((attemptId) => !withNode.has(attemptId) && !ended.has(attemptId)).length;
  const leaving = [...withNode].filter((attemptId) => attemptId !== undefined && !live.has(attemptId)).length;
  const taken = promised === 0 ? [] : [`the next ${promised === 1 ? 'place is' : `${promised} places are`} taken by what was just started`];
  return { fits: Math.max(0, fits - promised), leaving, sentences: [...taken, ...sentences] };
}
