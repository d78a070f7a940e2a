import { rename } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { CairnError, defaultRerank, mostWeight, needsReferences, type RerankMode, type RerankSettings, rerankModes } from '@cairn/contract';
import type { Device, ModelFolders } from '@cairn/retrieval';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { requireFile, withGivenFiles } from '../given-files.ts';
import { createStagedProgress } from '../output/live-screen.ts';
import { formatCount, formatDuration, plural } from '../output/units.ts';
import { type LibraryOptions, librariesOf, libraryOptions } from './features.ts';
import { addLocalMatching, type LocalMatchingOptions, localMatchingOf, matchingLines } from './local-matching.ts';
import { collect, positiveNumber, share, wholeNumber } from './options.ts';
import { scoreLines, solutionFile } from './scores.ts';

type SearchOptions = NamedFolders &
  LocalMatchingOptions &
  LibraryOptions &
  Omit<RerankSettings, 'mode' | 'boostKReciprocal' | 'whitenTo' | 'localMatching'> & {
    whitenTo?: number;
    labels?: string;
    rerank: RerankMode;
    boostKReciprocal?: true;
    topK: number;
    solution?: string;
    blockRows: number;
    threads?: number;
    device: Device;
    out: string;
  };

export function addSearch({ program, action }: Registrar): void {
  const command = program
    .command('search')
    .description('searches the feature sets of one model or several, and reranks like the reference, without the service')
    .requiredOption(
      '--queries <[name=]folder>',
      'the feature set of the queries; with a name for each of several models (repeatable)',
      collect,
    )
    .requiredOption('--index <[name=]folder>', 'the feature set to search, for each model (repeatable)', collect)
    .option('--references <[name=]folder>', 'the feature set of the references that vote, for each model (repeatable)', collect)
    .option('--labels <file>', 'the list of the references: a Parquet file with image_id, label and country')
    .option('--weight <name=number>', "a model's weight in the sum of similarities (default: 1; repeatable)", collect)
    .addOption(
      new Option('--rerank <mode>', 'what changes similarities: the votes of references, in each model or in the sum; or k-reciprocal sets')
        .choices(rerankModes)
        .default(defaultRerank.mode),
    )
    .option('--boost-k-reciprocal', 'with after_merge: sums and raises k-reciprocal similarities')
    .option('--votes <count>', 'references that vote for a query', wholeNumber(1, 10_000), defaultRerank.votes)
    .option('--alpha <number>', 'what all votes for a landmark add to a similarity', positiveNumber, defaultRerank.alpha)
    .option('--beta <number>', 'what all votes for a country add to it', positiveNumber, defaultRerank.beta)
    .option('--k1 <count>', 'neighbours that must be mutual', wholeNumber(1, 10_000), defaultRerank.k1)
    .option('--k2 <count>', 'images over whose neighbours to average', wholeNumber(1, 10_000), defaultRerank.k2)
    .option(
      '--vote-neighbours <count>',
      'nearest references, and nearest of each, among which votes are sought',
      wholeNumber(1, 10_000),
      defaultRerank.voteNeighbours,
    )
    .option('--vote-lambda <share>', "the cosine's share of the distance that finds votes", share, defaultRerank.voteLambda)
    .option('--lambda <share>', "the cosine's share of the distance of k_reciprocal", share, defaultRerank.lambda)
    .option(
      '--whiten <[name=]folder>',
      'first: the feature set from which a PCA whitening is learned, for each model (repeatable)',
      collect,
    )
    .option('--whiten-to <count>', 'components to keep (default: all in which the vectors vary)', wholeNumber(1, 10_000))
    .option(
      '--expand-queries <count>',
      'after a whitening: neighbours to add to each query (alpha-QE)',
      wholeNumber(0, 10_000),
      defaultRerank.expandQueries,
    )
    .option('--expand-queries-alpha <number>', 'the power of the cosine that weighs them', positiveNumber, defaultRerank.expandQueriesAlpha)
    .option(
      '--augment-index <count>',
      'neighbours to add to each index image before that (DBA)',
      wholeNumber(0, 10_000),
      defaultRerank.augmentIndex,
    )
    .option('--augment-index-alpha <number>', 'the power of the cosine that weighs them', positiveNumber, defaultRerank.augmentIndexAlpha);
  addLocalMatching(command);
  command
    .option('--top-k <count>', 'neighbours of each query', wholeNumber(1, 10_000), 100)
    .option('--solution <path>', 'scores the result: retrieval_solution_v2.1.csv, or the folder of the CSV files')
    .option(...libraryOptions.faiss)
    .option(...libraryOptions.usearch)
    .option('--block-rows <count>', 'rows to compare at a time, which limits the memory', wholeNumber(1, 10_000_000), 50_000)
    .option('--threads <count>', 'CPU threads (default: as many as there are cores)', wholeNumber(1, 1024))
    .addOption(new Option('--device <device>', 'where matrices are multiplied').choices(['cpu', 'cuda']).default('cpu'))
    .requiredOption('--out <folder>', 'the folder to create: submission.csv, neighbours.parquet, manifest.json, and scores with --solution')
    .action(action(search));
}

async function search(session: Session, options: SearchOptions): Promise<undefined> {
  const { ui, signal } = session;
  const { makingBeside, refuseTaken } = await import('@cairn/dataset');
  const { openParquet, searchModels } = await import('@cairn/retrieval');
  const out = resolve(options.out);
  await refuseTaken(out, 'the result of the search');
  const settings = settingsOf(options);
  const { models, labels } = await foldersOf(session, options, settings);
  const localMatching = await localMatchingOf(session, options);
  const indexLibraries = indexLibrariesOf(options, settings, models);
  const solution = options.solution === undefined ? null : await solutionFile(options.solution);
  const began = performance.now();
  const parquet = await openParquet();
  const progress = createStagedProgress(ui);
  const { topK, blockRows, device, threads = availableParallelism() } = options;
  try {
    const { manifest, scores } = await makingBeside(
      out,
      async (making) => {
        const made = join(making, 'search');
        const given = { parquet, models, labels, settings, localMatching, topK, blockRows, threads, device, solution, indexLibraries };
        const searched = await withGivenFiles(() =>
          searchModels({ ...given, out: made, scratch: making, signal, onProgress: progress.show }),
        );
        await rename(made, out);
        return searched;
      },
      signal,
    ).finally(progress.close);
    ui.json({ manifest, metrics: scores?.metrics ?? null });
    const what = `${plural(manifest.queries.rows, 'query', 'queries')} in ${plural(manifest.gallery.rows, 'image')}`;
    ui.line(`${what}, ${plural(models.length, 'model')}, rerank ${settings.mode}; gallery ${manifest.gallery.digest.slice(0, 16)}`);
    if (manifest.references !== null) {
      const { rows, labelsWithoutFeatures, withoutCountry, ofGallery, ofQueries } = manifest.references;
      ui.line(
        `${plural(rows, 'reference')}, ${formatCount(withoutCountry)} without a country; ${formatCount(labelsWithoutFeatures)} more of the list have no features`,
      );
      if (ofGallery + ofQueries > 0) {
        const known = `${plural(ofGallery, 'reference is an image', 'references are images')} of the index, ${formatCount(ofQueries)} of the queries`;
        ui.line(ui.style.warn(`${known}: their labels reveal the answer, which inflates a score.`));
      }
    }
    for (const line of matchingLines(manifest.localMatching)) ui.line(line);
    if (scores !== null) for (const line of scoreLines(scores.metrics)) ui.line(line);
    if (scores !== null && scores.unknownQueries > 0)
      ui.line(`Not scored: ${plural(scores.unknownQueries, 'query', 'queries')} missing in the solution.`);
    ui.line(`Searched in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(out)}`);
    return undefined;
  } finally {
    await parquet.close();
  }
}

function settingsOf(options: SearchOptions): RerankSettings {
  const { rerank: mode, votes, alpha, beta, k1, k2, voteNeighbours, voteLambda, lambda } = options;
  const { expandQueries, expandQueriesAlpha, augmentIndex, augmentIndexAlpha } = options;
  const ofVotes = { votes, alpha, beta, voteNeighbours, voteLambda };
  const ofExpansion = { expandQueries, expandQueriesAlpha, augmentIndex, augmentIndexAlpha };
  const whitenTo = options.whitenTo ?? null;
  const boostKReciprocal = options.boostKReciprocal === true;
  return { mode, boostKReciprocal, ...ofVotes, k1, k2, lambda, whitenTo, ...ofExpansion, localMatching: null };
}

/** Index files have the features as they are, so they would not find what a changed index does. */
function indexLibrariesOf(options: SearchOptions, { augmentIndex }: RerankSettings, models: readonly ModelFolders[]) {
  const libraries = librariesOf(options);
  if (libraries.length > 0 && (augmentIndex > 0 || models.some(({ whitening }) => whitening !== null))) {
    throw new CairnError('invalid_request', `--${libraries[0]} writes features as they are, not whitened or augmented`, {
      details: { remedy: 'Leave out --whiten and --augment-index, or write the index files by `cairn features export`.' },
    });
  }
  return libraries;
}

/** The folders that are needed: references that are not used are not read. */
async function foldersOf({ ui }: Session, options: SearchOptions, settings: RerankSettings) {
  const { requireFolder } = await import('@cairn/dataset');
  const isCompared = needsReferences(settings);
  const given = modelsOf(options);
  if (isCompared && (options.labels === undefined || given.some(({ references }) => references === null))) {
    throw new CairnError('invalid_request', `--rerank ${settings.mode} needs --references and --labels`, {
      details: { remedy: 'Pass the feature set of the references of each model, and the list from which it was extracted.' },
    });
  }
  if (!isCompared && options.references !== undefined) ui.note(`--rerank ${settings.mode} does not use references: they are not read.`);
  const models = given.map((model): ModelFolders => {
    const references = isCompared && model.references !== null ? resolve(model.references) : null;
    const whitening = model.whitening === null ? null : resolve(model.whitening);
    return { ...model, queries: resolve(model.queries), index: resolve(model.index), references, whitening };
  });
  if (settings.whitenTo !== null && models.some(({ whitening }) => whitening === null)) {
    throw new CairnError('invalid_request', '--whiten-to needs --whiten', { details: { remedy: 'Pass the feature set to learn from.' } });
  }
  for (const { name, queries, index, references, whitening } of models) {
    await requireFolder(`The feature set of the queries of ${name}`, queries);
    await requireFolder(`The feature set of the index of ${name}`, index);
    if (references !== null) await requireFolder(`The feature set of the references of ${name}`, references);
    if (whitening !== null) await requireFolder(`The feature set for the whitening of ${name}`, whitening);
  }
  const labels = isCompared && options.labels !== undefined ? resolve(options.labels) : null;
  if (labels !== null) await requireFile('The list of the references', labels);
  return { models, labels };
}

/** The arguments of `cairn search`: `FOLDER` for one model, `NAME=FOLDER` for each of several; `NAME=NUMBER` for weights. */
type NamedFolders = {
  queries: string[];
  index: string[];
  references?: string[] | undefined;
  whiten?: string[] | undefined;
  weight?: string[] | undefined;
};

/** The name of a single model that was given none. */
const onlyModel = 'model';

/**
 * The models that the options name, in the order of `--queries`. Each has a folder of every kind, and a weight of 1 by default. Throws `invalid_request`
 * for a model that one of the options lacks or names twice.
 */
function modelsOf(given: NamedFolders): ModelFolders[] {
  const queries = byName('--queries', given.queries);
  const index = byName('--index', given.index);
  const references = byName('--references', given.references ?? []);
  const weights = byName('--weight', given.weight ?? []);
  const whiten = byName('--whiten', given.whiten ?? []);
  const optional = [['--references', references] as const, ['--whiten', whiten] as const].filter(([, named]) => named.size > 0);
  const sets = [['--index', index] as const, ...optional];
  for (const [option, named] of sets) {
    const absent = [...queries.keys()].find((name) => !named.has(name));
    if (absent !== undefined) throw wrong(`${option} lacks the model ${absent}, which --queries has`);
  }
  for (const [option, named] of [...sets, ['--weight', weights] as const]) {
    const unknown = [...named.keys()].find((name) => !queries.has(name));
    if (unknown !== undefined) throw wrong(`--queries lacks the model ${unknown}, which ${option} has`);
  }
  return [...queries].map(([name, folder]) => ({
    name,
    weight: weightOf(name, weights.get(name)),
    queries: folder,
    index: index.get(name) ?? '',
    references: references.get(name) ?? null,
    whitening: whiten.get(name) ?? null,
  }));
}

function byName(option: string, texts: readonly string[]): Map<string, string> {
  const named = new Map<string, string>();
  for (const text of texts) {
    const [, name = onlyModel, value = text] = /^([^/=]*)=(.*)$/s.exec(text) ?? [];
    if (!/^[\w.-]+$/.test(name)) throw wrong(`${option} ${text}: a model's name has letters, digits and . _ - only (a folder: ./${text})`);
    if (value === '') throw wrong(`${option} ${text} names nothing after the =`);
    if (named.has(name))
      throw wrong(name === onlyModel ? `${option} is given twice without a name` : `${option} is given twice for ${name}`);
    named.set(name, value);
  }
  return named;
}

function weightOf(name: string, text: string | undefined): number {
  const weight = text === undefined ? 1 : Number(text);
  if (text?.trim() !== '' && weight > 0 && weight <= mostWeight) return weight;
  throw wrong(`the weight of ${name} is ${text}, not a number above 0 and at most ${mostWeight}`);
}

function wrong(what: string): CairnError {
  return new CairnError('invalid_request', what, {
    details: { remedy: 'Use --queries, --index and --references once per model, as NAME=FOLDER where there are several.' },
  });
}
