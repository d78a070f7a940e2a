import type { RerankSettings } from '@cairn/contract';
import type { Category } from '../category-boost.ts';

/** Vectors as rows. */
export type Matrix = readonly (readonly number[])[];
export type OracleModel = { weight: number; queries: Matrix; index: Matrix; references: Matrix };

/**
 * The expected result of a search, written only from the definitions: dense matrices, full sorts, similarities for every reference. For
 * sets of a few hundred. Returns the similarities, queries x index.
 */
export function oracleSimilarities(models: readonly OracleModel[], categories: readonly Category[], settings: RerankSettings): number[][] {
  const { mode, boostKReciprocal } = settings;
  const bases = models.map((model) =>
    mode === 'k_reciprocal' || boostKReciprocal ? kReciprocal(model, settings) : cosines(model.queries, model.index),
  );
  const raised = (base: number[][], model: OracleModel): number[][] =>
    base.map((row, query) => raise(row, model, model.queries[query] ?? [], categories, settings));
  const added = (matrices: number[][][]): number[][] =>
    (matrices[0] ?? []).map((row, query) =>
      row.map((_, column) =>
        matrices.reduce((sum, matrix, at) => sum + (models[at]?.weight ?? 0) * (matrix[query]?.[column] ?? Number.NaN), 0),
      ),
    );
  if (mode === 'before_merge') return added(models.map((model, at) => raised(bases[at] ?? [], model)));
  const merged = added(bases);
  return mode === 'after_merge' ? models.reduce((matrix, model) => raised(matrix, model), merged) : merged;
}

function raise(row: number[], model: OracleModel, query: readonly number[], categories: readonly Category[], settings: RerankSettings) {
  const similarities = voteSimilarities(query, model.references, settings);
  const voters = sortedBy(similarities, (similarity) => -similarity).slice(0, settings.votes);
  const total = voters.reduce((sum, voter) => sum + (similarities[voter] ?? 0), 0);
  return row.map((similarity, column) => {
    const shown = categories[sortedBy(cosines([model.index[column] ?? []], model.references)[0] ?? [], (cosine) => -cosine)[0] ?? -1];
    const share = (isAlike: (category: Category | undefined) => boolean): number =>
      voters.reduce((sum, voter) => sum + (isAlike(categories[voter]) ? (similarities[voter] ?? 0) / total : 0), 0);
    const ofLandmark = share((category) => category?.label === shown?.label);
    const ofCountry = shown?.country === null ? 0 : share((category) => category?.country === shown?.country);
    return similarity + settings.alpha * ofLandmark + settings.beta * ofCountry;
  });
}

/** kr_rerank_fast: of a query with every reference. */
function voteSimilarities(query: readonly number[], references: Matrix, settings: RerankSettings): number[] {
  const nearest = (vector: readonly number[]): number[] =>
    sortedBy(cosines([vector], references)[0] ?? [], (cosine) => -cosine).slice(0, settings.voteNeighbours);
  const members = [...new Set(nearest(query).flatMap((seed) => [seed, ...nearest(references[seed] ?? [])]))].sort((a, b) => a - b);
  const compared = [query, ...members.map((member) => references[member] ?? [])];
  const jaccard = jaccardDistances(compared, settings)[0] ?? [];
  return references.map((reference, place) => {
    const at = members.indexOf(place);
    const distance = distanceOf(dot(query, reference));
    return 1 - (settings.voteLambda * distance + (1 - settings.voteLambda) * (at === -1 ? 1 : (jaccard[at + 1] ?? Number.NaN)));
  });
}

function kReciprocal({ queries, index }: OracleModel, settings: RerankSettings): number[][] {
  const jaccard = jaccardDistances([...queries, ...index], settings);
  return queries.map((query, row) =>
    index.map((image, column) => {
      const distance = distanceOf(dot(query, image));
      return 1 - ((1 - settings.lambda) * (jaccard[row]?.[queries.length + column] ?? Number.NaN) + settings.lambda * distance);
    }),
  );
}

/** Jaccard distances of k-reciprocal sets among `items`: dense V, its mean over the first K2, sums of minima. */
function jaccardDistances(items: Matrix, { k1, k2 }: RerankSettings): number[][] {
  const all = items.map((_, item) => item);
  const distances = cosines(items, items).map((row) => row.map(distanceOf));
  const order = distances.map((row) => sortedBy(row, (distance) => distance));
  const first = (item: number, count: number): number[] => (order[item] ?? []).slice(0, count);
  const mutual = (item: number, count: number): number[] => first(item, count).filter((other) => first(other, count).includes(item));
  // np.around: to the even one on a tie.
  const half = Math.round(k1 / 2) - (k1 % 4 === 1 ? 1 : 0);
  const v = all.map((item) => {
    const own = mutual(item, k1 + 1);
    const grown = new Set(own);
    for (const candidate of own) {
      const theirs = mutual(candidate, half + 1);
      if (theirs.filter((other) => own.includes(other)).length > (2 / 3) * theirs.length) for (const other of theirs) grown.add(other);
    }
    const weights = all.map((other) => (grown.has(other) ? Math.exp(-(distances[item]?.[other] ?? 0)) : 0));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return sum === 0 ? weights : weights.map((weight) => weight / sum);
  });
  const mean = all.map((item) => {
    // A k2 of 1 leaves V as it is.
    const nearest = k2 === 1 ? [item] : first(item, k2);
    return all.map((column) => nearest.reduce((sum, other) => sum + (v[other]?.[column] ?? 0), 0) / nearest.length);
  });
  return mean.map((a) =>
    mean.map((b) => {
      const shared = a.reduce((sum, value, column) => sum + Math.min(value, b[column] ?? 0), 0);
      return 1 - shared / (2 - shared);
    }),
  );
}

function distanceOf(cosine: number): number {
  return 1 - (cosine + 1) / 2;
}

function cosines(a: Matrix, b: Matrix): number[][] {
  return a.map((left) => b.map((right) => dot(left, right)));
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
}

/** Indices, the least first, equal ones in their order. */
function sortedBy(values: readonly number[], by: (value: number) => number): number[] {
  return values
    .map((value, at) => ({ key: by(value), at }))
    .sort((a, b) => a.key - b.key || a.at - b.at)
    .map(({ at }) => at);
}
