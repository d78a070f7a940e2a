import type { StepKind } from './states.ts';

/**
 * The version of what each kind of step computes, of its results' memo keys. Raise it by hand when the same settings and inputs give
 * another result: earlier results of the kind are then made again. apps/worker/step-code.test.ts fails when the code of a kind
 * changed and nobody decided.
 */
export const stepVersions = {
  prepare: 1,
  train: 1,
  export: 1,
  extract: 1,
  search: 1,
  rerank: 1,
  evaluate: 1,
  register: 1,
} as const satisfies Record<StepKind, number>;
