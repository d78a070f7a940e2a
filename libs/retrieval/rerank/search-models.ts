import { join } from 'node:path';
import { CairnError, manifestName, type Origin, originOf, type RerankSettings } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { type IdTable, idsOf } from '../features/id-table.ts';
import { writeWhole } from '../files/whole-file.ts';
import { refuseUnwritable, writeSubmission } from '../metrics/write-submission.ts';
import type { Device } from '../onnx/create-session.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { readSolution } from '../scores/read-csv.ts';
import { type ScoreMetrics, scorePredictions } from '../scores/score-predictions.ts';
import { metricsName, perQueryName, writeScores } from '../scores/scores-file.ts';
import { describeFile, type IndexFiles, type IndexLibrary, writeIndexes } from '../search/index-files.ts';
import { type Gallery, galleryOf, rankedImages, writeNeighbours } from '../search/neighbours-file.ts';
import { type LocalMatching, type MatchingSummary, matchNeighbours, openMatching } from './local-matching.ts';
import type { SearchProgress } from './model-vectors.ts';
import type { ImageMatcher } from './open-image-matcher.ts';
import { type ModelFolders, type OpenedModels, openModels } from './open-models.ts';
import { rerankSearch } from './rerank-search.ts';

export type SearchModelsOptions = {
  parquet: Parquet;
  models: readonly ModelFolders[];
  labels: string | null;
  settings: RerankSettings;
  /** What is needed for `settings.localMatching`; null: nothing is matched. */
  localMatching: LocalMatching | null;
  topK: number;
  blockRows: number;
  threads: number;
  device?: Device;
  /** `retrieval_solution_v2.1.csv`, if the result is to be scored. */
  solution: string | null;
  /** Libraries that get an index of the gallery ({@link writeIndexes}). */
  indexLibraries?: readonly IndexLibrary[];
  /** The output folder. */
  out: string;
  /** A temporary folder next to it. */
  scratch?: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: SearchProgress) => void) | undefined;
};

/** `manifest.json` of a search: inputs, settings and results. It is written last. */
export type SearchManifest = {
  kind: 'search';
  models: (ModelFolders & { dim: number; origin: Origin })[];
  /** The list with the labels of the references. */
  labels: { path: string; sha256: string } | null;
  solution: { path: string; sha256: string } | null;
  settings: Omit<RerankSettings, 'localMatching'>;
  localMatching: MatchingSummary | null;
  topK: number;
  /** As of `neighbours.parquet`; of the queries and the references likewise, by their ids. */
  gallery: Gallery;
  queries: Gallery;
  /** `ofGallery`, `ofQueries`: references that are themselves in the index or queries, so that the labels reveal the answer. */
  references: (Gallery & { labelsWithoutFeatures: number; withoutCountry: number; ofGallery: number; ofQueries: number }) | null;
  /** Null unless they were requested. */
  indexFiles: IndexFiles | null;
  files: { name: string; bytes: number; sha256: string }[];
};

export type SearchedModels = {
  manifest: SearchManifest;
  /** Null without a solution. `unknownQueries`: in the feature sets, but not in it; they are searched and not scored. */
  scores: { metrics: ScoreMetrics; unknownQueries: number } | null;
};

/**
 * Searches the feature sets of one model or several ({@link rerankSearch}), reorders ({@link matchNeighbours}) and writes `submission.csv`, `neighbours.parquet`, with a solution
 * `metrics.json` and `per_query.parquet`, and `manifest.json`. Throws as {@link openModels}, {@link rerankSearch}, {@link openMatching} and {@link readSolution}.
 */
export async function searchModels(options: SearchModelsOptions): Promise<SearchedModels> {
  if (options.localMatching === null) return searchAndWrite(options, null);
  // Before the search, which may take hours.
  const matcher = await openMatching(options.localMatching, options);
  try {
    return await searchAndWrite(options, { matcher, matching: options.localMatching });
  } finally {
    await matcher.close();
  }
}

async function searchAndWrite(
  options: SearchModelsOptions,
  local: { matcher: ImageMatcher; matching: LocalMatching } | null,
): Promise<SearchedModels> {
  const { parquet, topK, out, signal, onProgress } = options;
  const { localMatching: _, ...settings } = options.settings;
  // Before the search, which may take hours.
  const groundTruth = options.solution === null ? null : await readSolution(options.solution);
  const opened = await openModels(options);
  const { queryIds, indexIds, referenceIds, categories, labelsWithoutFeatures, origins } = opened;
  for (const [what, ids] of [['The feature set of the queries', queryIds] as const, ['The feature set of the index', indexIds] as const]) {
    if (ids.length === 0) throw new CairnError('bad_row', `${what} has no images`, { details: { remedy: 'Extract the images first.' } });
    refuseUnwritable(ids, what);
  }
  const ranked = await rerankSearch({ ...options, models: opened.models, categories });
  const matched = local === null ? null : await matchNeighbours({ ...local, neighbours: ranked, queryIds, indexIds, onProgress });
  const found = matched?.neighbours ?? ranked;

  const neighbours = rankedImages(queryIds, found, indexIds);
  const predictions = new Map([...neighbours].map(([queryId, { imageIds }]) => [queryId, imageIds]));
  const gallery = galleryOf(indexIds);
  await writeSubmission({ path: join(out, 'submission.csv'), queryIds, neighbours: predictions });
  await writeNeighbours(parquet, join(out, 'neighbours.parquet'), { gallery, topK, neighbours }, signal);
  const names = ['submission.csv', 'neighbours.parquet'];
  let scores: SearchedModels['scores'] = null;
  if (groundTruth !== null) {
    const known = [...predictions].filter(([queryId]) => groundTruth.has(queryId));
    const { metrics, perQuery } = await scorePredictions(known, groundTruth, signal);
    const { groundTruthDigest } = metrics;
    await writeScores(parquet, { out, metrics, scores: { queries: perQuery, gallery, groundTruthDigest } }, signal);
    names.push(metricsName, perQueryName);
    scores = { metrics, unknownQueries: predictions.size - known.length };
  }

  const indexed = await indexesOf(options, opened);
  if (indexed !== null) names.push(...indexed.names);

  const manifest: SearchManifest = {
    kind: 'search',
    models: options.models.map((folders, at) => ({
      ...folders,
      dim: opened.models[at]?.queries.dim ?? 0,
      origin: origins[folders.name] ?? originOf(null),
    })),
    labels: await fileOf(options.labels, signal),
    solution: await fileOf(options.solution, signal),
    settings,
    localMatching: matched?.summary ?? null,
    topK,
    gallery,
    queries: galleryOf(queryIds),
    references:
      options.labels === null
        ? null
        : {
            ...galleryOf(referenceIds),
            labelsWithoutFeatures,
            withoutCountry: categories.filter(({ country }) => country === null).length,
            ofGallery: countShared(referenceIds, indexIds.table),
            ofQueries: countShared(referenceIds, idsOf(queryIds).table),
          },
    indexFiles: indexed?.manifest ?? null,
    files: await Promise.all(names.map((name) => describeFile(out, name, signal))),
  };
  await writeWhole(join(out, manifestName), `${JSON.stringify(manifest, null, 2)}\n`);
  return { manifest, scores };
}

function countShared(ids: Iterable<string>, others: IdTable): number {
  let count = 0;
  for (const id of ids) if (others.find(id) !== -1) count += 1;
  return count;
}

async function fileOf(path: string | null, signal?: AbortSignal): Promise<{ path: string; sha256: string } | null> {
  return path === null ? null : { path, sha256: await sha256File(path, signal) };
}

async function indexesOf(options: SearchModelsOptions, { models, indexIds }: OpenedModels) {
  const { indexLibraries: libraries = [] } = options;
  if (libraries.length === 0) return null;
  const galleries = models.map(({ name, index }) => ({ name, vectors: index }));
  return writeIndexes({ ...options, galleries, ids: indexIds, libraries });
}
