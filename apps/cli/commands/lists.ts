import { resolve } from 'node:path';
import { CairnError, type CategoryQuotes, categoryQuotes, type ListName, listName } from '@cairn/contract';
import type { CheckedLists, ListsManifest } from '@cairn/dataset';
import { InvalidArgumentError, Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { listTable, tableLines } from '../output/table.ts';
import { formatBytes, formatCount, formatDuration, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

type ListsOptions = {
  metadata: string;
  countries?: string;
  out?: string;
  text?: true;
  check?: true;
  lists?: ListName[];
  quotes: CategoryQuotes;
  seed: number;
  tars?: string;
  memory?: number;
  /** False for --no-known-counts. */
  knownCounts: boolean;
};

export function addLists({ program, action }: Registrar): void {
  program
    .command('lists')
    .description('makes or checks the lists of a collection in the format of GLDv2, without the service')
    .requiredOption('--metadata <folder>', 'the CSV files, plain or gzip: flat as downloaded, or in train/, index/ and test/')
    .option('--countries <folder>', 'country_codes.json, one CC.json per country, continent_codes.csv')
    .option('--out <folder>', 'the folder to create: lists/NAME.parquet and manifest.json')
    .option('--text', 'also writes lists/NAME.csv: path, label, 0 or 1 for noisy, continent or null')
    .option('--check', 'writes nothing: compares counts with the published ones, and finds ids and categories that do not match')
    .option('--no-known-counts', 'with --check, for collections other than GLDv2: does not compare with its counts')
    .option('--lists <names>', `only these, separated by commas (${listName.options.join(', ')})`, listNames)
    .addOption(
      new Option('--quotes <way>', 'how quoted categories are read: like the reference, which leaves inner quotes doubled, or correctly')
        .choices(categoryQuotes.options)
        .default('reference'),
    )
    .option('--seed <number>', 'seed of the sample in the list test', wholeNumber(0, 2 ** 31 - 1), 0)
    .option('--tars <folder>', 'also records where each image is in the tars below this folder')
    .option('--memory <MiB>', 'maximum memory for tables; what does not fit goes to disk', wholeNumber(64, 2 ** 20))
    .action(action(lists));
}

function listNames(text: string): ListName[] {
  return text.split(',').map((name) => {
    const parsed = listName.safeParse(name.trim());
    if (!parsed.success) throw new InvalidArgumentError(`"${name}" is not one of ${listName.options.join(', ')}.`);
    return parsed.data;
  });
}

async function lists(session: Session, options: ListsOptions): Promise<number | undefined> {
  if (options.check) return check(session, options);
  if (options.out === undefined) {
    throw new CairnError('invalid_request', 'lists needs --out for its result, or --check', {
      details: { remedy: '`cairn lists --help` shows its options.' },
    });
  }
  const { ui, signal } = session;
  const { prepareLists } = await import('@cairn/dataset');
  const { countries, text, tars, memory } = options;
  const out = resolve(options.out);
  const began = performance.now();
  const manifest = await prepareLists({
    metadata: resolve(options.metadata),
    countries: countries === undefined ? undefined : resolve(countries),
    images: tars === undefined ? { kind: 'folder', root: resolve(options.metadata) } : { kind: 'tars', root: resolve(tars) },
    lists: options.lists ?? (await listsAtHand(session, options)),
    testSeed: options.seed,
    categoryQuotes: options.quotes,
    withText: text === true,
    out,
    ...(memory === undefined ? {} : { memoryLimitMiB: memory }),
    signal,
  });
  ui.json(manifest);
  for (const line of manifestTable(manifest, session)) ui.line(line);
  for (const [list, { rows, missingImages }] of Object.entries(manifest.lists)) {
    if (missingImages)
      ui.line(ui.style.warn(`${formatCount(missingImages)} of ${formatCount(rows)} rows of ${list} have no image in the tars.`));
  }
  const files = plural(Object.keys(manifest.inputs).length, 'file');
  ui.line(`Made from ${files} in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(out)}`);
  return undefined;
}

const alwaysMade: readonly ListName[] = ['clean', 'c2x', 'full', 'index_train', 'test', 'all', 'query'];

/** The six lists and query; index and index_expand if the files that only they need exist. */
async function listsAtHand({ ui }: Session, { metadata }: ListsOptions): Promise<ListName[]> {
  const { hasMetadata, requireFolder } = await import('@cairn/dataset');
  await requireFolder('The metadata folder', resolve(metadata));
  const hasIndex = await hasMetadata(metadata, 'index');
  if (!hasIndex) ui.note('index.csv is missing: the list index is left out.');
  const hasCompetition = await hasMetadata(metadata, 'competitionIndex');
  return [...alwaysMade, ...(hasIndex ? (['index'] as const) : []), ...(hasCompetition ? (['index_expand'] as const) : [])];
}

function manifestTable({ lists: made, groundTruth }: ListsManifest, { ui }: Session): string[] {
  const truth = groundTruth === null ? [] : [['ground_truth', formatCount(groundTruth.rows), '', '', '', formatBytes(groundTruth.bytes)]];
  return listTable(made, ui, truth);
}

/** Exits with the code of bad input when something is wrong, so that a script notices. */
async function check(session: Session, options: ListsOptions): Promise<number | undefined> {
  const { ui, signal } = session;
  const { checkLists } = await import('@cairn/dataset');
  const { countries } = options;
  const checked = await checkLists({
    metadata: resolve(options.metadata),
    countries: countries === undefined ? undefined : resolve(countries),
    lists: options.lists ?? (await listsAtHand(session, options)),
    categoryQuotes: options.quotes,
    signal,
  });
  const faults = checked.issues.filter(({ isFault }) => isFault).length;
  const differing = options.knownCounts ? checked.counts.filter(({ isAsKnown }) => isAsKnown === false).length : 0;
  ui.json({ ...checked, isRight: faults + differing === 0 });
  for (const line of checkLines(checked, options.knownCounts, session)) ui.line(line);
  if (faults + differing === 0) {
    ui.line(ui.style.good('No problems found.'));
    return undefined;
  }
  const problems = [
    ...(differing === 0 ? [] : [`${plural(differing, 'list')} with counts other than GLDv2's`]),
    ...(faults === 0 ? [] : [plural(faults, 'fault')]),
  ];
  ui.line(ui.style.bad(`${problems.join(' and ')}.`));
  return exitCodes.badInput.code;
}

function checkLines({ counts, issues }: CheckedLists, withKnown: boolean, { ui }: Session): string[] {
  const right = { align: 'right' as const };
  const columns = [
    { title: 'list' },
    { title: 'rows', ...right },
    { title: 'labels', ...right },
    ...(withKnown ? [{ title: 'rows of GLDv2', ...right }, { title: 'labels of GLDv2', ...right }, { title: '' }] : []),
  ];
  const rows = counts.map(({ list, rows: n, labels, known, isAsKnown }) => {
    const verdict = isAsKnown === null ? '' : isAsKnown ? ui.style.good('as known') : ui.style.bad('differs');
    const published = known === null ? ['', ''] : [formatCount(known.rows), known.labels === null ? '' : formatCount(known.labels)];
    return [ui.style.bold(list), formatCount(n), formatCount(labels), ...(withKnown ? [...published, verdict] : [])];
  });
  const found = issues.map(({ count, says, examples, isFault }) => {
    const mark = isFault ? ui.style.bad('fault') : ui.style.dim('note ');
    return `${mark}  ${formatCount(count)} ${says}  ${ui.style.dim(`${examples.join(', ')}${count > examples.length ? ', ...' : ''}`)}`;
  });
  return [...tableLines(columns, rows, { heading: ui.style.dim }), ...found];
}
