import { CairnError } from '@cairn/contract';
import { type Features, readFeatures } from '../features/read-features.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import type { Category } from './category-boost.ts';
import type { ModelVectors } from './model-vectors.ts';
import { placeFeatures } from './placed-features.ts';
import { assertOneOrigin, type Origin, readOrigin } from './read-origin.ts';
import { readTags, type TagsOrigin } from './tags-file.ts';

/** The folders of one model's feature sets; `references` is null where nothing is compared with references,
 * `whitening` where vectors are not whitened. */
export type ModelFolders = {
  name: string;
  weight: number;
  queries: string;
  index: string;
  references: string | null;
  whitening: string | null;
  /** The nearest references of the index images, if they were found before, and what they must be of. */
  tags?: { dir: string; origin: TagsOrigin } | null;
};

export type OpenModelsOptions = {
  parquet: Parquet;
  models: readonly ModelFolders[];
  /** A list with image_id, label and country of the references, in their order. Null without references. */
  labels: string | null;
  signal?: AbortSignal | undefined;
};

export type OpenedModels = {
  models: ModelVectors[];
  /** By place: sorted, as the reference sorts by path. */
  queryIds: string[];
  indexIds: string[];
  /** By place, in the order of the list. */
  referenceIds: string[];
  categories: Category[];
  /** Rows of the list with a label, but without features: images that could not be read. */
  labelsWithoutFeatures: number;
  /** The known origin of each model's features. */
  origins: Record<string, Origin>;
};

/**
 * Opens the feature sets of several models, which must have the same images. Throws `corrupt_artifact` for an incomplete set, `bad_row` for
 * one that lacks images of another model and for references without a label or with two, `model_mismatch` if the sets of one model name
 * different models or preprocessings.
 */
export async function openModels({ parquet, models, labels, signal }: OpenModelsOptions): Promise<OpenedModels> {
  const read = (dir: string): Promise<Features> => readFeatures(dir, parquet, signal);
  const opened: {
    folders: ModelFolders;
    queries: Features;
    index: Features;
    references: Features | null;
    whitening: Features | null;
    origin: Origin;
  }[] = [];
  for (const folders of models) {
    const dirs = [folders.queries, folders.index, folders.references, folders.whitening].filter((dir) => dir !== null);
    const origins = await Promise.all(dirs.map(async (dir) => ({ dir, origin: await readOrigin(dir) })));
    opened.push({
      folders,
      queries: await read(folders.queries),
      index: await read(folders.index),
      references: folders.references === null ? null : await read(folders.references),
      whitening: folders.whitening === null ? null : await read(folders.whitening),
      origin: assertOneOrigin(folders.name, origins),
    });
  }
  const queryIds = sortedUnion(opened.map(({ queries }) => queries));
  const indexIds = sortedUnion(opened.map(({ index }) => index));
  const labelled =
    labels === null
      ? { referenceIds: [], categories: [], labelsWithoutFeatures: 0 }
      : await labelReferences(
          parquet,
          labels,
          opened.flatMap(({ references }) => references ?? []),
          signal,
        );
  const { referenceIds } = labelled;
  const tags: (Int32Array | null)[] = [];
  for (const { folders } of opened)
    tags.push(folders.tags ? await readTags({ parquet, ...folders.tags, indexIds, referenceIds, signal }) : null);
  return {
    ...labelled,
    queryIds,
    indexIds,
    models: opened.map(({ folders: { name, weight }, queries, index, references, whitening }, at) => ({
      name,
      tags: tags[at] ?? null,
      weight,
      queries: placeFeatures(queries, queryIds, `The queries of ${name}`),
      index: placeFeatures(index, indexIds, `The index images of ${name}`),
      references: references === null ? null : placeFeatures(references, labelled.referenceIds, `The references of ${name}`),
      whitening: whitening === null ? null : placeFeatures(whitening, sortedUnion([whitening]), `The vectors for the whitening of ${name}`),
    })),
    origins: Object.fromEntries(opened.map(({ folders, origin }) => [folders.name, origin])),
  };
}

/** By code unit, as Python sorts the ASCII of ids. Within one split the order of ids is that of their paths a/b/c/ID.jpg. */
function sortedUnion(sets: readonly Features[]): string[] {
  return [...new Set(sets.flatMap(({ ids }) => [...ids]))].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

type Labelled = Pick<OpenedModels, 'referenceIds' | 'categories' | 'labelsWithoutFeatures'>;

/** The references in the order of their list, with their categories. */
export async function labelReferences(parquet: Parquet, path: string, sets: readonly Features[], signal?: AbortSignal): Promise<Labelled> {
  const sql = 'select image_id, label, country from read_parquet($path, file_row_number = true) order by file_row_number';
  const table = await parquet.query({ path, sql }, signal);
  const [labels, countries] = [table.integer('label'), table.textOrNull('country')];
  const withFeatures = new Set(sets.flatMap(({ ids }) => [...ids]));
  const known = new Set<string>();
  const referenceIds: string[] = [];
  const categories: Category[] = [];
  let labelsWithoutFeatures = 0;
  for (const [row, id] of table.text('image_id').entries()) {
    const label = labels[row] as number;
    if (known.has(id)) throw labelledTwice(path, id);
    known.add(id);
    if (label < 0) continue;
    if (!withFeatures.has(id)) {
      labelsWithoutFeatures += 1;
      continue;
    }
    referenceIds.push(id);
    categories.push({ label, country: countries[row] ?? null });
  }
  const without = [...withFeatures].filter((id) => !known.has(id));
  if (without.length > 0) {
    const examples = without.slice(0, 5);
    throw new CairnError('bad_row', `${path} has no label for ${without.length} references, such as ${examples.join(', ')}`, {
      details: { without: without.length, examples, remedy: 'Use the list from which the references were extracted.' },
    });
  }
  return { referenceIds, categories, labelsWithoutFeatures };
}

function labelledTwice(path: string, id: string): CairnError {
  return new CairnError('bad_row', `${path} has more than one row for the image ${id}`, {
    details: { remedy: 'Use a list with each image once, such as index_train; the list all repeats queries with several landmarks.' },
  });
}
