import type { Scorer } from '../search/create-scorer.ts';
import type { Products } from './create-products.ts';
import type { PlacedVectors } from './placed-features.ts';

/** The vectors of one model. Places mean the same images in all models of a search. */
export type ModelVectors = {
  name: string;
  /** Of its similarities in the sum over the models. */
  weight: number;
  queries: PlacedVectors;
  index: PlacedVectors;
  /** Null where nothing is compared with references. */
  references: PlacedVectors | null;
  /** What a whitening is learned from; null for none. */
  whitening: PlacedVectors | null;
};

/** What the parts of a search compute with. */
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
