import type { Scorer } from '../search/create-scorer.ts';
import type { Neighbours } from '../search/find-neighbours.ts';
import type { Products } from './create-products.ts';
import type { PlacedVectors } from './placed-features.ts';

/** The vectors of one model. Places identify the same images in all models of a search. */
export type ModelVectors = {
  name: string;
  /** The weight of its similarities in the sum over the models. */
  weight: number;
  queries: PlacedVectors;
  index: PlacedVectors;
  /** Null if nothing is compared with references, or with them any more: tags and votes are given. */
  references: PlacedVectors | null;
  /** The place of each index image's nearest reference, by place; null if it is still to be found (`usesFound`). */
  tags: Int32Array | null;
  /** The references that vote on each query, and their reranked similarities, by place; null if they are still to be found. */
  votes: Neighbours | null;
  /** The set for learning a whitening; null for none. */
  whitening: PlacedVectors | null;
};

/** The computing resources of a search. */
export type SearchMeans = {
  scorer: Scorer;
  products: Products;
  /** Gallery rows per matrix product. */
  blockRows: number;
  threads: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: SearchProgress) => void) | undefined;
};

export type SearchProgress = { what: string; done: number; total: number };
