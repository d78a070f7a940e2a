import { assertOneOrigin, CairnError, type Origin } from '@cairn/contract';
import { createIdTable, type IdOrder, type IdTable, orderIds, sortIds, type TableIds } from '../features/id-table.ts';
import { type Features, readFeatureIds, readFeatures, readOrigins } from '../features/read-features.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import type { Category } from './category-boost.ts';
import type { ModelVectors } from './model-vectors.ts';
import { type PlacedVectors, placeFeatures, placeIds, positionsOf } from './placed-features.ts';
import { readTags, type TagsOrigin } from './tags-file.ts';
import { readVotes, type VotesOrigin } from './votes-file.ts';

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
  /** The votes of the queries likewise. With both, only the ids of the references are read. */
  votes?: { dir: string; origin: VotesOrigin } | null;
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
  /** By place: sorted, as the reference sorts by path. Within one split the order of ids is that of their paths a/b/c/ID.jpg. */
  queryIds: string[];
  indexIds: IdOrder;
  /** By place, in the order of the list. */
  referenceIds: IdOrder;
  categories: Category[];
  /** Rows of the list with a label, but without features: images that could not be read. */
  labelsWithoutFeatures: number;
  /** The known origin of each model's features. */
  origins: Record<string, Origin>;
};

/**
 * Opens the feature sets of several models, which must have the same images. Throws `corrupt_artifact` for an incomplete set, `bad_row` for
 * one that lacks images of another model and for references without a label or with two, `model_mismatch` if the sets of one model name
 * different models, preprocessings or scales.
 */
export async function openModels({ parquet, models, labels, signal }: OpenModelsOptions): Promise<OpenedModels> {
  const read = (dir: string, table?: IdTable): Promise<Features> => readFeatures(dir, parquet, signal, table);
  const tables = { queries: createIdTable(), index: createIdTable(), references: createIdTable() };
  const readReferences = async (dir: string, { tags, votes }: ModelFolders) => {
    if (tags && votes) return { ids: await readFeatureIds(dir, parquet, signal, tables.references), features: null };
    const features = await read(dir, tables.references);
    return { ids: features.ids, features };
  };
  const opened: {
    folders: ModelFolders;
    queries: Features;
    index: Features;
    references: { ids: TableIds; features: Features | null } | null;
    whitening: Features | null;
    origin: Origin;
  }[] = [];
  for (const folders of models) {
    const dirs = [folders.queries, folders.index, folders.references, folders.whitening].filter((dir) => dir !== null);
    const origin = assertOneOrigin(folders.name, await readOrigins(dirs));
    opened.push({
      folders,
      queries: await read(folders.queries, tables.queries),
      index: await read(folders.index, tables.index),
      references: folders.references === null ? null : await readReferences(folders.references, folders),
      whitening: folders.whitening === null ? null : await read(folders.whitening),
      origin,
    });
  }
  const queryIds = sortIds(tables.queries);
  const indexIds = sortIds(tables.index);
  const labelled =
    labels === null
      ? { referenceIds: orderIds(tables.references, new Int32Array()), categories: [], labelsWithoutFeatures: 0 }
      : await labelReferences(parquet, labels, tables.references, signal);
  const { referenceIds } = labelled;
  const found: Pick<ModelVectors, 'tags' | 'votes'>[] = [];
  for (const { folders } of opened)
    found.push({
      tags: folders.tags ? await readTags({ parquet, ...folders.tags, indexIds, referenceIds, signal }) : null,
      votes: folders.votes ? await readVotes({ parquet, ...folders.votes, queryIds, referenceIds, signal }) : null,
    });
  const placeReferences = (name: string, references: (typeof opened)[number]['references']): PlacedVectors | null => {
    const called = `The references of ${name}`;
    if (references?.features) return placeFeatures(references.features, referenceIds, called);
    if (references !== null) placeIds(references.ids, referenceIds, called);
    return null;
  };
  return {
    ...labelled,
    queryIds: [...queryIds],
    indexIds,
    models: opened.map(({ folders: { name, weight }, queries, index, references, whitening }, at) => ({
      name,
      ...{ tags: null, votes: null, ...found[at] },
      weight,
      queries: placeFeatures(queries, queryIds, `The queries of ${name}`),
      index: placeFeatures(index, indexIds, `The index images of ${name}`),
      references: placeReferences(name, references),
      whitening:
        whitening === null ? null : placeFeatures(whitening, sortIds(whitening.ids.table), `The vectors for the whitening of ${name}`),
    })),
    origins: Object.fromEntries(opened.map(({ folders, origin }) => [folders.name, origin])),
  };
}

type Labelled = Pick<OpenedModels, 'referenceIds' | 'categories' | 'labelsWithoutFeatures'>;

/** The references in the order of their list, with their categories. `references` has the ids of all models' references. */
export async function labelReferences(parquet: Parquet, path: string, references: IdTable, signal?: AbortSignal): Promise<Labelled> {
  const isListed = new Uint8Array(references.length);
  const numbers = new Int32Array(references.length);
  const categories: Category[] = [];
  // Millions of references share the categories of their landmarks.
  const known = new Map<string, Category>();
  let labelsWithoutFeatures = 0;
  const take = (id: string, label: number, country: string | null): void => {
    const number = references.find(id);
    if (number === -1) {
      if (label >= 0) labelsWithoutFeatures += 1;
      return;
    }
    if (isListed[number] === 1) throw labelledTwice(path, id);
    isListed[number] = 1;
    if (label < 0) return;
    const key = country === null ? String(label) : `${label} ${country}`;
    const category = known.get(key) ?? { label, country };
    known.set(key, category);
    numbers[categories.length] = number;
    categories.push(category);
  };
  const rows = { path, sql: 'select image_id, label, country from read_parquet($path)' };
  await parquet.scan(
    rows,
    (some) => {
      const [labels, countries] = [some.integer('label'), some.textOrNull('country')];
      for (const [row, id] of some.text('image_id').entries()) take(id, labels[row] ?? -1, countries[row] ?? null);
    },
    signal,
  );
  const { count: without, first } = positionsOf(isListed, 0);
  if (without > 0) {
    const examples = first.map((number) => references.at(number));
    throw new CairnError('bad_row', `${path} has no label for ${without} references, such as ${examples.join(', ')}`, {
      details: { without, examples, remedy: 'Use the list from which the references were extracted.' },
    });
  }
  return { referenceIds: orderIds(references, numbers.slice(0, categories.length)), categories, labelsWithoutFeatures };
}

function labelledTwice(path: string, id: string): CairnError {
  return new CairnError('bad_row', `${path} has more than one row for the image ${id}`, {
    details: { remedy: 'Use a list with each image once, such as index_train; the list all repeats queries with several landmarks.' },
  });
}
