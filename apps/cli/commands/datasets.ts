import { resolve } from 'node:path';
import { CairnError, type DatasetView, isDatasetUrl } from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { datasetRootsFileOf } from '../connection.ts';
import { tableLines } from '../output/table.ts';
import { formatAgo, formatCount, plural } from '../output/units.ts';
import { allowDatasetRoots } from '../service/service-home.ts';
import { collect } from './options.ts';

type AddOptions = { root?: string; metadata?: string; kind?: 'folder' | 'tars'; countries?: string; allow: string[] };

export function addDatasets({ program, action }: Registrar): void {
  program.command('datasets').description('lists the registered datasets').action(action(listDatasets));
  const dataset = program.command('dataset').description('registers and shows datasets');
  dataset
    .command('add <name> [source]')
    .description('registers an image collection in the format of GLDv2, in SOURCE: a folder, s3://bucket/prefix, or https:// (tars)')
    .option('--root <folder>', 'the images: train/, index/ and test/ below it (default: SOURCE)')
    .option('--metadata <folder>', 'the CSV files: train.csv, train_clean.csv, index_image_to_landmark.csv and so on (default: SOURCE)')
    .addOption(
      new Option('--kind <kind>', 'a tree a/b/c/id.jpg, or the official tars (default: tars at an address, otherwise folder)').choices([
        'folder',
        'tars',
      ]),
    )
    .option('--countries <folder>', 'the files with the country of each landmark, for the continent-aware sampler')
    .option(
      '--allow <folder>',
      'a folder that links in the collection point to, which the service of --home may read too; can be repeated',
      collect,
      [],
    )
    .action(action(addDataset));
  dataset.command('show <name>').description('shows a dataset: name or name@version').action(action(showDataset));
}

async function listDatasets({ ui, signal, client, cli }: Session): Promise<undefined> {
  const items: DatasetView[] = [];
  for await (const dataset of (await client()).eachDataset({ signal })) items.push(dataset);
  ui.json({ items });
  if (items.length === 0) {
    ui.line('No datasets. `cairn dataset add NAME --root FOLDER --metadata FOLDER` registers one.');
    return undefined;
  }
  const rows = items.map(({ name, version, source, createdAt }) => [
    ui.style.bold(name),
    String(version),
    source.kind,
    source.root,
    formatAgo(createdAt, cli.now()),
  ]);
  const columns = [
    { title: 'name' },
    { title: 'version', align: 'right' as const },
    { title: 'kind' },
    { title: 'root' },
    { title: 'registered' },
  ];
  for (const line of tableLines(columns, rows, { heading: ui.style.dim })) ui.line(line);
  return undefined;
}

/**
 * The service reads the places itself: a path is made absolute here. What follows the `?` of an address says how its storage is reached: it
 * is not part of the dataset, but of the address that a service of the caller's home is allowed to read.
 */
async function addDataset(session: Session, name: string, given: string | undefined, options: AddOptions): Promise<undefined> {
  const { signal, client } = session;
  const places: string[] = [];
  const placeOf = (text: string): string => {
    const place = isDatasetUrl(text) ? text : resolve(text);
    places.push(place);
    return isDatasetUrl(text) ? (text.split('?')[0] ?? '') : place;
  };
  const { root = given, metadata = given, countries, allow } = options;
  if (root === undefined || metadata === undefined) {
    const message = 'The collection has no place: give it after the name, or its parts with --root and --metadata';
    throw new CairnError('invalid_request', message, { details: { remedy: '`cairn dataset add NAME s3://bucket/prefix`' } });
  }
  const source = {
    kind: options.kind ?? (isDatasetUrl(root) ? ('tars' as const) : ('folder' as const)),
    root: placeOf(root),
    metadata: placeOf(metadata),
    countries: countries === undefined ? null : placeOf(countries),
  };
  await allowFolders(session, [...places, ...allow.map(placeOf)]);
  const dataset = await (await client()).addDataset({ name, source }, { signal });
  session.ui.json(dataset);
  printDataset(session, dataset);
  return undefined;
}

/**
 * Allows folders and addresses for the datasets of the user's own service: its home, which only that user can access, has the list. A service that is
 * reached by an address reads what its operator allows.
 */
async function allowFolders({ connection }: Session, folders: readonly string[]): Promise<void> {
  const { home } = await connection();
  if (home !== null) await allowDatasetRoots(datasetRootsFileOf(home), folders);
}

async function showDataset(session: Session, name: string): Promise<undefined> {
  const { ui, signal, client } = session;
  const usage = await (await client()).getDatasetUsage(name, { signal });
  ui.json(usage);
  printDataset(session, usage.dataset);
  const { lists, runs, models, versions } = usage;
  const lines = lists.map((list) => [
    list.name,
    formatCount(list.rows),
    formatCount(list.images),
    list.classes === null ? '' : formatCount(list.classes),
    list.artifactId,
  ]);
  const right = 'right' as const;
  const columns = [{ title: 'list' }, ...['rows', 'images', 'classes'].map((title) => ({ title, align: right })), { title: 'artifact' }];
  if (lines.length > 0) for (const line of ['', ...tableLines(columns, lines, { heading: ui.style.dim })]) ui.line(line);
  ui.line('');
  ui.line(`${plural(versions.length, 'version')}; used by ${plural(runs.total, 'run')} and ${plural(models.total, 'model version')}`);
  return undefined;
}

function printDataset({ ui, cli }: Session, dataset: DatasetView): void {
  const { style } = ui;
  const { name, version, source } = dataset;
  const field = (label: string, value: string): void => ui.line(`  ${style.dim(label.padEnd(10))} ${value}`);
  ui.line(`${style.bold(`${name}@${version}`)}  registered ${formatAgo(dataset.createdAt, cli.now())} by ${dataset.owner}`);
  field('kind', source.kind);
  field('root', source.root);
  field('metadata', source.metadata);
  if (source.countries !== null) field('countries', source.countries);
  field('digest', `${dataset.digest.slice(0, 16)} (${dataset.digestBasis})`);
}
