import type { RerankSettings } from '@cairn/contract';
import { expandVectors } from './expand-vectors.ts';
import type { ModelVectors, SearchMeans } from './model-vectors.ts';
import type { PlacedVectors } from './placed-features.ts';
import { learnWhitening, whitenVectors } from './whiten-vectors.ts';

/** The file for vectors of this kind. */
type FileOf = (kind: string) => string;

/**
 * The vectors for the search: all are whitened, then the neighbours of each index image are added to it, then those of each query, from the
 * changed index. References are only whitened. Steps that are not requested are skipped.
 */
export async function changeVectors(
  given: ModelVectors,
  settings: RerankSettings,
  means: SearchMeans,
  file: FileOf,
): Promise<ModelVectors> {
  const model = await whiten(given, settings, means, file);
  const { expandQueries, expandQueriesAlpha, augmentIndex, augmentIndexAlpha } = settings;
  let { queries, index } = model;
  if (augmentIndex > 0) {
    const expansion = { neighbours: augmentIndex, alpha: augmentIndexAlpha };
    index = await expandVectors({ vectors: index, gallery: index, settings: expansion, means, path: file('expanded-index') });
  }
  if (expandQueries > 0) {
    const expansion = { neighbours: expandQueries, alpha: expandQueriesAlpha };
    queries = await expandVectors({ vectors: queries, gallery: index, settings: expansion, means, path: file('expanded-queries') });
  }
  return { ...model, queries, index };
}

async function whiten(given: ModelVectors, { whitenTo }: RerankSettings, means: SearchMeans, file: FileOf): Promise<ModelVectors> {
  if (given.whitening === null) return given;
  const whitening = await learnWhitening(given.whitening, whitenTo, means);
  const whitened = (vectors: PlacedVectors, kind: string): Promise<PlacedVectors> =>
    whitenVectors(vectors, whitening, means, file(`whitened-${kind}`));
  return {
    ...given,
    queries: await whitened(given.queries, 'queries'),
    index: await whitened(given.index, 'index'),
    references: given.references === null ? null : await whitened(given.references, 'references'),
  };
}
