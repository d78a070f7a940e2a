import { join } from 'node:path';
import { type AttemptSpecOf, CairnError, type DatasetFiles, type ListsDetails, type StoredFile } from '@cairn/contract';
import { type ListsManifest, prepareLists } from '@cairn/dataset';
import type { Runner } from '../agent/attempt-context.ts';
import { uploadFile } from '../agent/stored-files.ts';

/** One attempt at a preparation: the metadata's CSV files become the lists that all other steps read. */
export const runPrepare: Runner<'prepare'> = async (context) => {
  const { spec, workDir, stop, reporter, datasetRoots } = context;
  const registered = registeredFiles(spec);
  const { kind, root, metadata, countries } = spec.source;
  const out = join(workDir, 'lists');
  reporter.progress({
    done: 0,
    total: spec.settings.lists.length,
    unit: 'files',
    rate: null,
    etaSeconds: null,
    message: 'reading the metadata',
  });
  const manifest = await prepareLists({
    metadata,
    ...(countries === null ? {} : { countries }),
    images: { kind, root },
    registered,
    roots: datasetRoots,
    lists: spec.settings.lists,
    testSeed: spec.settings.testSeed,
    categoryQuotes: spec.settings.categoryQuotes,
    out,
    signal: stop.asked,
  });
  requireImages(manifest);
  for (const message of notesOf(manifest)) reporter.report({ type: 'note', level: 'warning', message });
  const paths = filesOf(manifest);
  const files: StoredFile[] = [];
  for (const path of paths) {
    files.push(await uploadFile(context, path, { file: join(out, path) }, { signal: stop.asked }));
    reporter.progress({
      done: files.length,
      total: paths.length,
      unit: 'files',
      rate: null,
      etaSeconds: null,
      message: `${path} is stored`,
    });
  }
  return { outcome: 'succeeded', files, details: { ...manifest, ...countsOf(manifest) } };
};

/** @throws CairnError `dataset_changed` for a dataset registered without digests, because its files cannot be compared */
function registeredFiles({ registered, source }: AttemptSpecOf<'prepare'>): DatasetFiles {
  if (registered !== null) return registered;
  throw new CairnError(
    'dataset_changed',
    `The dataset at ${source.metadata} was registered by an earlier version, which did not record digests of its files: register it again; with the same content it keeps its version`,
  );
}

/**
 * Ends the run here, before it trains, if a later step would have nothing to work on.
 *
 * @throws CairnError `empty_list` naming the list
 */
function requireImages({ lists, groundTruth }: ListsManifest): void {
  for (const [name, { rows, missingImages }] of Object.entries(lists)) {
    if (rows === 0) throw new CairnError('empty_list', `The list ${name} has no rows`, { details: { list: name } });
    if (missingImages !== rows) continue;
    throw new CairnError('empty_list', `None of the ${rows} images of the list ${name} is in the dataset's image folder`, {
      details: { list: name, rows },
    });
  }
  // The list index_expand has the ground truths that index.csv lacks.
  if (groundTruth === null || lists.index === undefined || lists.index_expand !== undefined) return;
  if (groundTruth.notInIndex === groundTruth.rows) {
    const message = `None of the ${groundTruth.rows} ground truths in retrieval_solution_v2.1.csv is in index.csv, so every score would be 0`;
    throw new CairnError('empty_list', message, { details: { list: 'index', rows: groundTruth.rows } });
  }
}

/** Missing images, for the run's history. */
function notesOf({ lists, groundTruth, tars }: ListsManifest): string[] {
  const unfound = groundTruth?.notInIndex ?? 0;
  const outside =
    unfound === 0
      ? []
      : [`${unfound} of ${groundTruth?.rows} ground truths are not in index.csv: a search of the list index cannot find them`];
  const missing = Object.entries(lists).flatMap(
    ([
      name,
      {
        rows,
        missingImages,
        missingExamples: [first = ''],
      },
    ]) =>
      missingImages === null || missingImages === 0
        ? []
        : [`${missingImages} of ${rows} rows of the list ${name} have no image file, such as ${first}`],
  );
  const unindexed = Object.values(tars ?? {}).flatMap((index) =>
    index.tars.flatMap(({ tar, unindexed: n }) =>
      n === 0
        ? []
        : [`${n} entries of ${tar} are named as images but cannot be indexed: links, sparse files, or names that are not ID.jpg`],
    ),
  );
  return [...missing, ...outside, ...limitNotes(unindexed)];
}

const maxNotes = 20;

function limitNotes(notes: readonly string[]): string[] {
  return notes.length <= maxNotes ? [...notes] : [...notes.slice(0, maxNotes), `${notes.length - maxNotes} more tars have such entries`];
}

/** The files that a preparation wrote, relative to its folder. */
function filesOf({ lists, groundTruth, tars }: ListsManifest): string[] {
  const written = [...Object.values(lists), ...(groundTruth === null ? [] : [groundTruth]), ...Object.values(tars ?? {})];
  return written.map(({ path }) => path);
}

/** What the other steps read of the lists, without the parts kept for people. */
function countsOf({ lists }: ListsManifest): ListsDetails {
  return { lists: Object.fromEntries(Object.entries(lists).map(([name, entry]) => [name, { ...entry, distinct: entry.images }])) };
}
