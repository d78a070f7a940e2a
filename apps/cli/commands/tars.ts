import { resolve } from 'node:path';
import { CairnError, isDatasetUrl } from '@cairn/contract';
import { describeProxies } from '@cairn/runtime';
import { type Command, InvalidArgumentError } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import { bar, createLiveScreen, createProgressLine } from '../output/live-screen.ts';
import { formatBytes, formatCount, formatDuration, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

const splitNames = ['train', 'index', 'test'] as const;
type Split = (typeof splitNames)[number];

export function addTars({ program, action }: Registrar): void {
  const tars = program.command('tars').description('downloads and indexes the tars of GLDv2, without the service');
  withSplits(tars.command('fetch'))
    .description('downloads tars and verifies their md5; when run again, it continues')
    .requiredOption('--out <folder>', 'gets train/images_000.tar and so on, and md5sum/')
    .option('--numbers <ranges>', 'only these of each split, such as 0-9,17', numbers)
    .option('--from <address>', 'where they are (default: the address of GLDv2)')
    .option('--parallel <count>', 'tars at a time', wholeNumber(1, 64), 4)
    .option('--tries <count>', 'tries without new data before a tar is given up', wholeNumber(1, 100), 8)
    .option('--verify', 'also reads existing tars and compares their md5')
    .action(action(fetch));
  withSplits(tars.command('index <source>'))
    .description('writes where each image is in the tars below a folder, or at s3:// or https://; when run again, it reads only new ones')
    .option('--out <folder>', 'gets SPLIT.parquet and index.json (default: SOURCE/tars-index)')
    .option('--no-md5', 'reads only the headers, not every byte for its md5')
    .action(action(index));
}

function withSplits(command: Command): Command {
  return command.option('--splits <names>', `only these, separated by commas (${splitNames.join(', ')})`, (text) =>
    text.split(',').map((name) => {
      const split = splitNames.find((known) => known === name.trim());
      if (split === undefined) throw new InvalidArgumentError(`"${name}" is not one of ${splitNames.join(', ')}.`);
      return split;
    }),
  );
}

const maxNumbers = 100_000;

function numbers(text: string): number[] {
  const found = text.split(',').flatMap((range) => {
    const [, first = '', last = first] = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(range.trim()) ?? [];
    const [from, to] = [Number(first), Number(last)];
    if (first === '' || to < from || to - from >= maxNumbers)
      throw new InvalidArgumentError(`"${range}" is not a number or range such as 0-9.`);
    return Array.from({ length: to - from + 1 }, (_, n) => from + n);
  });
  return [...new Set(found)];
}

type FetchOptions = {
  out: string;
  splits?: Split[];
  numbers?: number[];
  from?: string;
  parallel: number;
  tries: number;
  verify?: true;
};

async function fetch({ ui, cli, signal }: Session, options: FetchOptions): Promise<number | undefined> {
  const { fetchTars, tarsOfGldv2 } = await import('@cairn/dataset');
  const { from, numbers: wanted, splits = splitNames, parallel, tries, verify } = options;
  const all = (split: Split): number[] => Array.from({ length: tarsOfGldv2[split] }, (_, n) => n);
  const tars = Object.fromEntries(
    splits.map((split) => [
      split,
      wanted === undefined ? all(split) : from === undefined ? wanted.filter((n) => n < tarsOfGldv2[split]) : wanted,
    ]),
  );
  const out = resolve(options.out);
  const began = performance.now();
  const screen = ui.isTerminal ? createLiveScreen(ui.stdout) : null;
  let [shownAt, shownHundredth] = [0, -1];
  const proxies = describeProxies(cli.env);
  if (proxies !== null) ui.note(`Using the proxies of the environment, except for the hosts in NO_PROXY: ${proxies}.`);
  const result = await fetchTars({
    ...(from === undefined ? {} : { from: addressOf(from) }),
    out,
    tars,
    parallel,
    tries,
    verify: verify === true,
    onProgress: ({ done, total, bytes }) => {
      const seconds = (performance.now() - began) / 1000;
      if (screen === null) {
        // In a log, one line for each hundredth of the tars is enough.
        const hundredth = Math.floor((done / total) * 100);
        if (hundredth > shownHundredth)
          ui.note(`${formatCount(done)}/${formatCount(total)} tars, ${formatBytes(bytes)} in ${formatDuration(seconds)}`);
        shownHundredth = Math.max(shownHundredth, hundredth);
      } else if (seconds - shownAt > 0.1 || done === total) {
        shownAt = seconds;
        const rate = formatBytes(bytes / Math.max(seconds, 0.001));
        screen.draw([`tars  ${bar(done / total, 20, ui)}  ${formatCount(done)}/${formatCount(total)}  ${formatBytes(bytes)}  ${rate}/s`]);
      }
    },
    signal,
  }).finally(() => {
    screen?.draw([]);
    screen?.close();
  });
  ui.json(result);
  const { fetched, present, failed, bytes } = result;
  for (const { tar, message } of failed) ui.line(`${ui.style.bad(tar)}  ${message}`);
  const there = present.length === 0 ? '' : `, ${formatCount(present.length)} ${present.length === 1 ? 'was' : 'were'} already there`;
  ui.line(
    `${plural(fetched.length, 'tar')} fetched${there}, ${formatBytes(bytes)} in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(out)}`,
  );
  if (failed.length === 0) return undefined;
  ui.line(ui.style.bad(`${plural(failed.length, 'tar')} failed. Run the same command again: it continues where it stopped.`));
  return exitCodes.failed.code;
}

function addressOf(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw new CairnError('invalid_request', `--from ${text} is not an address such as https://example.org/google-landmark`, {
    details: { remedy: 'Use the address that has train/images_000.tar and md5sum/ below it, or leave --from out for that of GLDv2.' },
  });
}

async function index(
  { ui, signal }: Session,
  source: string,
  options: { out?: string; splits?: Split[]; md5: boolean },
): Promise<undefined> {
  const { splitsWithTars, tarIndexFolder, writeTarIndex } = await import('@cairn/dataset');
  const isUrl = isDatasetUrl(source);
  if (isUrl && options.out === undefined) {
    const remedy = 'Add --out FOLDER, then copy the folder to tars-index/ below the address.';
    throw new CairnError('invalid_request', 'the index of tars at an address is written to a folder', { details: { remedy } });
  }
  // What follows the ? says how the storage is reached.
  const root = isUrl ? (source.split('?')[0] ?? '') : resolve(source);
  const places = isUrl ? [source] : null;
  const out = resolve(options.out ?? tarIndexFolder(root));
  const began = performance.now();
  const progress = createProgressLine(ui, 'indexing tars');
  const written = await writeTarIndex({
    root,
    splits: options.splits ?? (await splitsWithTars(root, places)),
    places,
    out,
    withMd5: options.md5,
    onProgress: ({ done, total }) => progress.show(done, total),
    signal,
  }).finally(progress.close);
  ui.json(written);
  for (const [split, { images, tars, wasKnown, repeated }] of Object.entries(written.splits)) {
    const unindexed = tars.reduce((sum, tar) => sum + tar.unindexed, 0);
    const unchecked = tars.filter(({ md5Checked }) => !md5Checked).length;
    const notes = [
      ...(wasKnown > 0 ? [`${formatCount(wasKnown)} already indexed`] : []),
      ...(unchecked > 0 ? [`${formatCount(unchecked)} with unverified md5`] : []),
      ...(unindexed > 0
        ? [
            ui.style.warn(
              `${plural(unindexed, 'entry', 'entries')} named like an image but not indexed: links, sparse files, or names that are not ID.jpg`,
            ),
          ]
        : []),
      ...(repeated > 0 ? [ui.style.warn(`${plural(repeated, 'image')} in two places`)] : []),
    ];
    ui.line(
      `${ui.style.bold(split)}  ${plural(images, 'image')} in ${plural(tars.length, 'tar')}${notes.length > 0 ? `  (${notes.join(', ')})` : ''}`,
    );
  }
  ui.line(`Indexed in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(out)}`);
  return undefined;
}
