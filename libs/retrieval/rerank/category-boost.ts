import type { RerankSettings } from '@cairn/contract';

/** The category of a reference or an index image; null: unknown country. */
export type Category = { label: number; country: string | null };

/** The shares of a query's votes. */
export type Shares = { labels: ReadonlyMap<number, number>; countries: ReadonlyMap<string, number> };

/**
 * The similarities of a query's votes, summed by landmark and by country, each divided by the sum over all. A vote with an unknown country
 * counts in the sum, like one for OTHER in the reference, but raises no image.
 */
export function sharesOf(votes: readonly (Category & { similarity: number })[]): Shares {
  const total = votes.reduce((sum, { similarity }) => sum + similarity, 0);
  const labels = new Map<number, number>();
  const countries = new Map<string, number>();
  if (!(total > 0)) return { labels, countries };
  for (const { label, country, similarity } of votes) {
    labels.set(label, (labels.get(label) ?? 0) + similarity / total);
    if (country !== null) countries.set(country, (countries.get(country) ?? 0) + similarity / total);
  }
  return { labels, countries };
}

/** The columns of a block of index images by what they show. */
export type Columns = { labels: ReadonlyMap<number, readonly number[]>; countries: ReadonlyMap<string, readonly number[]> };

export function columnsOf(categories: readonly Category[]): Columns {
  const labels = new Map<number, number[]>();
  const countries = new Map<string, number[]>();
  categories.forEach(({ label, country }, column) => {
    push(labels, label, column);
    if (country !== null) push(countries, country, column);
  });
  return { labels, countries };
}

function push<Key>(map: Map<Key, number[]>, key: Key, column: number): void {
  const columns = map.get(key);
  if (columns === undefined) map.set(key, [column]);
  else columns.push(column);
}

/** Raises a query's similarities to a block by its shares: alpha for the landmarks that were voted for, beta for the countries. */
export function boost(
  similarities: Float64Array,
  columns: Columns,
  shares: Shares,
  { alpha, beta }: Pick<RerankSettings, 'alpha' | 'beta'>,
) {
  raise(similarities, columns.labels, shares.labels, alpha);
  raise(similarities, columns.countries, shares.countries, beta);
}

function raise<Key>(
  similarities: Float64Array,
  columns: ReadonlyMap<Key, readonly number[]>,
  shares: ReadonlyMap<Key, number>,
  factor: number,
): void {
  for (const [key, share] of shares) {
    for (const column of columns.get(key) ?? []) similarities[column] = (similarities[column] as number) + factor * share;
  }
}
