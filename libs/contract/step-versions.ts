import type { StepKind } from './states.ts';

/**
 * The version of each kind of step's code, part of the memo key of its results. Raise it by hand when the same settings and inputs give
 * another result: earlier results of the kind are then computed again. apps/worker/step-code.test.ts fails when the code of a kind changed
 * without a decision.
 */
export const stepVersions = {
  prepare: 2,
  train: 1,
  export: 1,
  extract: 1,
  scan: 1,
  search: 2,
  tag: 1,
  rerank: 1,
  evaluate: 3,
  register: 3,
} as const satisfies Record<StepKind, number>;
