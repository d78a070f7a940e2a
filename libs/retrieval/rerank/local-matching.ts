import { type ArtifactDetails, CairnError, type ImagePlace, type LocalMatchingSettings, type UnreadableImagePlace } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import type { Ids } from '../features/id-table.ts';
import { type ListRow, readListRows } from '../features/read-list-rows.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import type { Neighbours } from '../search/find-neighbours.ts';
import type { SearchProgress } from './model-vectors.ts';
import { type ImageMatcher, openImageMatcher } from './open-image-matcher.ts';

/** Where some images are in a folder, by id. */
export type Places = ReadonlyMap<string, ImagePlace>;

/** The images of the queries or of the index: a folder, and where those that are matched are in it. */
export type MatchedImages = { root: string; placesOf: (imageIds: ReadonlySet<string>) => Promise<Places> };

export type LocalMatching = {
  settings: LocalMatchingSettings;
  /** An ONNX matcher; null for SIFT. */
  matcherPath: string | null;
  queries: MatchedImages;
  index: MatchedImages;
  /** A folder in which inliers are kept for later searches; null for none. */
  cache: string | null;
  /** The interpreter with the packages of docker/trainer, and the environment of its process. */
  python: string;
  env: Readonly<Record<string, string | undefined>>;
};

export type MatchingSummary = NonNullable<ArtifactDetails['neighbours']['localMatching']> & {
  settings: LocalMatchingSettings;
  queries: string;
  index: string;
  /** By path; at most {@link mostNamed}. */
  unreadable: UnreadableImagePlace[];
};

const mostNamed = 1000;

/** The file of an image whose place is known by its path alone. */
export const placeAt = (path: string): ImagePlace => ({
  ...{ path, tar: null, offset: null, size: null },
  ...{ fileBytes: null, fileChangedMs: null, isRecorded: false },
});

const placeOfRow = ({ path, tar, offset, size, fileBytes, fileChangedMs }: ListRow): ImagePlace => ({
  ...{ path, tar, offset, size },
  ...{ fileBytes: fileBytes ?? null, fileChangedMs: fileChangedMs ?? null, isRecorded: fileBytes !== undefined },
});

/** Rows of a list in memory at a time: 100 MB. */
const listBlock = 100_000;

/** The places of images in a list. Throws `corrupt_artifact` where it lacks one. */
export async function placesInList(parquet: Parquet, path: string, imageIds: ReadonlySet<string>, signal?: AbortSignal): Promise<Places> {
  const places = new Map<string, ImagePlace>();
  for (let from = 0; ; from += listBlock) {
    const rows = await readListRows(parquet, { path, from, count: listBlock }, signal);
    for (const row of rows) if (imageIds.has(row.imageId)) places.set(row.imageId, placeOfRow(row));
    if (rows.length < listBlock || places.size === imageIds.size) break;
  }
  const absent = [...imageIds].find((id) => !places.has(id));
  if (absent === undefined) return places;
  throw new CairnError('corrupt_artifact', `${path} has ${places.size} of the ${imageIds.size} images to match; it lacks ${absent}`, {
    details: { remedy: 'Use the list from which the features were extracted.' },
  });
}

export function openMatching(
  { settings, matcherPath, queries, index, cache, python, env }: LocalMatching,
  { threads, signal }: { threads: number; signal?: AbortSignal | undefined },
): Promise<ImageMatcher> {
  return openImageMatcher({ settings, matcherPath, queryRoot: queries.root, indexRoot: index.root, cache, threads, python, env, signal });
}

export type MatchNeighboursOptions = {
  neighbours: Neighbours;
  /** Ids by place, of queries and index. */
  queryIds: readonly string[];
  indexIds: Ids;
  matching: LocalMatching;
  matcher: ImageMatcher;
  onProgress?: ((progress: SearchProgress) => void) | undefined;
};

/**
 * Reorders the first images of each query by their inliers ({@link reorder}); the others keep their places. As LOCAL_MATCHING does in the
 * 2nd place solution of Google Landmark Retrieval 2021. Throws as {@link ImageMatcher}, and as `placesOf`.
 */
export async function matchNeighbours(options: MatchNeighboursOptions): Promise<{ neighbours: Neighbours; summary: MatchingSummary }> {
  const { queryIds, indexIds, matching, matcher, onProgress } = options;
  const { settings, queries, index } = matching;
  const { k } = options.neighbours;
  const [rows, scores] = [options.neighbours.rows.slice(), options.neighbours.scores.slice()];
  const count = Math.min(settings.images, k);
  const unreadable = new Map<string, UnreadableImagePlace>();
  let [cachedPairs, done] = [0, 0];
  if (count > 0) {
    const firstOf = (query: number) => Array.from(rows.subarray(query * k, query * k + count), (place) => indexIds.at(place) ?? '');
    const queryPlaces = await queries.placesOf(new Set(queryIds));
    const indexPlaces = await index.placesOf(new Set(queryIds.flatMap((_, query) => firstOf(query))));
    await inParallel(queryIds.entries(), 2 * matcher.threads, async ([query, queryId]) => {
      const [from, to] = [query * k, query * k + count];
      const images = firstOf(query).map((id) => placed(indexPlaces, id));
      const { inliers, cached, unreadable: found } = await matcher.match(placed(queryPlaces, queryId), images);
      for (const image of found) unreadable.set(`${image.side} ${image.path}`, image);
      cachedPairs += cached;
      reorder(rows.subarray(from, to), scores.subarray(from, to), inliers, settings);
      done += 1;
      onProgress?.({ what: 'matching images', done, total: queryIds.length });
    });
  }
  const named = [...unreadable.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, image]) => image);
  return {
    neighbours: { k, rows, scores },
    summary: {
      matcher: matcher.matcher,
      settings,
      queries: queries.root,
      index: index.root,
      pairs: queryIds.length * count,
      cachedPairs,
      unreadableImages: named.length,
      unreadable: named.slice(0, mostNamed),
    },
  };
}

function placed(places: Places, id: string): ImagePlace {
  const place = places.get(id);
  if (place === undefined) throw new CairnError('internal', `The image ${id} has no place`);
  return place;
}

/**
 * Adds `weight * min(inliers, mostInliers) / mostInliers` to the similarity of each image and sorts by the sum, equal ones by place; in
 * place.
 */
export function reorder(
  places: Int32Array,
  similarities: Float64Array,
  inliers: readonly number[],
  { weight, mostInliers }: Pick<LocalMatchingSettings, 'weight' | 'mostInliers'>,
): void {
  const raised = Array.from(places, (place, at) => ({
    place,
    score: (similarities[at] ?? 0) + (weight * Math.min(inliers[at] ?? 0, mostInliers)) / mostInliers,
  }));
  for (const [at, { place, score }] of raised.toSorted((a, b) => b.score - a.score || a.place - b.place).entries()) {
    places[at] = place;
    similarities[at] = score;
  }
}
