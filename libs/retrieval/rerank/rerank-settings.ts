import { CairnError } from '@cairn/contract';

/** How the similarities of a search are changed before its images are ranked. */
export const rerankModes = ['off', 'before_merge', 'after_merge', 'k_reciprocal'] as const;
export type RerankMode = (typeof rerankModes)[number];

/** The reference's constants under Cairn's names; {@link defaultRerank} has the values. */
export type RerankSettings = {
  mode: RerankMode;
  /** With `after_merge`: sum and raise the k-reciprocal similarities (KR_FLAG in the reference). */
  boostKReciprocal: boolean;
  /** References that vote on a query's landmark and country (VOTE_NUM). */
  votes: number;
  /** The total boost of a similarity by votes for a landmark (alpha) and for a country (beta). */
  alpha: number;
  beta: number;
  /** Number of mutual neighbours, without the image itself (K1); number of images to average over, including it (K2). */
  k1: number;
  k2: number;
  /** Nearest references of a query, and of each of these, among which the votes are reranked (topk of kr_rerank_fast). */
  voteNeighbours: number;
  /** The cosine distance's part of the distance by which votes are found (lambda of kr_rerank_fast), the rest being Jaccard's. */
  voteLambda: number;
  /** The same for `k_reciprocal` (LAMBDA). */
  lambda: number;
  /** Before all that: components that vectors keep in a whitening, null for all; it needs vectors to learn from. */
  whitenTo: number | null;
  /** After a whitening: neighbours in the index that are added to each query (alpha-QE) and to each index image (DBA); 0 for none. */
  expandQueries: number;
  augmentIndex: number;
  /** The power of the cosine in the weight of a neighbour. */
  expandQueriesAlpha: number;
  augmentIndexAlpha: number;
};

/** The values of the reference's final submission. */
export const defaultRerank: RerankSettings = {
  mode: 'off',
  boostKReciprocal: false,
  votes: 3,
  alpha: 1,
  beta: 0.1,
  k1: 10,
  k2: 3,
  voteNeighbours: 30,
  voteLambda: 0.5,
  lambda: 0.3,
  whitenTo: null,
  expandQueries: 0,
  augmentIndex: 0,
  expandQueriesAlpha: 3,
  augmentIndexAlpha: 3,
};

/** Whether the index and the queries are compared with references. */
export function needsReferences({ mode }: RerankSettings): boolean {
  return mode === 'before_merge' || mode === 'after_merge';
}

export function usesKReciprocal({ mode, boostKReciprocal }: RerankSettings): boolean {
  return mode === 'k_reciprocal' || boostKReciprocal;
}

/** Throws `invalid_setting` for settings that contradict each other. */
export function checkRerank(settings: RerankSettings): void {
  const { mode, votes, voteNeighbours, boostKReciprocal } = settings;
  if (votes > voteNeighbours) {
    // Only the nearest references and theirs can win a vote, as long as there are enough of them.
    throw new CairnError('invalid_setting', `${votes} votes cannot come from the ${voteNeighbours} nearest references.`, {
      details: { remedy: 'Set at least as many vote neighbours as votes.' },
    });
  }
  if (boostKReciprocal && mode !== 'after_merge') {
    throw new CairnError('invalid_setting', `K-reciprocal similarities cannot be raised with ${mode}.`, {
      details: { remedy: 'Choose after_merge, or k_reciprocal, which ranks by them as they are.' },
    });
  }
}
