import { mkdir, rename, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { CairnError, type Interval } from '@cairn/contract';
import type { ScoreMetrics } from '@cairn/retrieval';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatCount, formatPercent, formatRange, plural } from '../output/units.ts';

export function addScores({ program, action }: Registrar): void {
  program
    .command('score')
    .description('scores a submission by both definitions of mAP@100, with CMC, precision and recall, without the service')
    .requiredOption('--submission <file>', 'submission.csv: id,images')
    .requiredOption('--solution <path>', 'retrieval_solution_v2.1.csv, or the folder of the CSV files')
    .option('--require-all', 'fails if a scored query has no row, as eval_cbir does; otherwise it scores 0')
    .option('--out <folder>', 'the folder to create: metrics.json and per_query.parquet')
    .action(action(score));
}

type ScoreOptions = { submission: string; solution: string; requireAll?: true; out?: string };

async function score({ ui, signal }: Session, options: ScoreOptions): Promise<undefined> {
  const { makingBeside, refuseTaken } = await import('@cairn/dataset');
  const { openParquet, readSolution, readSubmission, scorePredictions, writeScores } = await import('@cairn/retrieval');
  const out = options.out === undefined ? null : resolve(options.out);
  if (out !== null) await refuseTaken(out, 'the scores');
  const groundTruth = await readSolution(await solutionFile(options.solution));
  const file = resolve(options.submission);
  const submission = await readSubmission(file);
  refuseUnknown(
    file,
    [...submission.keys()].filter((queryId) => !groundTruth.has(queryId)),
  );
  const missing = [...groundTruth]
    .flatMap(([queryId, { usage }]) => (usage === 'Ignored' || submission.has(queryId) ? [] : [queryId]))
    .sort();
  if (options.requireAll && missing.length > 0)
    throw new CairnError(
      'bad_row',
      `${file} has no row for ${plural(missing.length, 'scored query', 'scored queries')}: ${examplesOf(missing)}`,
      {
        details: { remedy: 'Add a row for each query, or leave out --require-all: then such a query scores 0.' },
      },
    );
  const { metrics, perQuery } = await scorePredictions(submission, groundTruth, signal);
  if (out !== null) {
    const parquet = await openParquet();
    const write = async (making: string): Promise<void> => {
      const made = join(making, 'scores');
      await mkdir(made);
      // A submission does not say which gallery it is of.
      const scores = { queries: perQuery, gallery: null, groundTruthDigest: metrics.groundTruthDigest };
      await writeScores(parquet, { out: made, metrics, scores }, signal);
      await rename(made, out);
    };
    await makingBeside(out, write, signal).finally(() => parquet.close());
  }
  ui.json(metrics);
  for (const line of scoreLines(metrics)) ui.line(line);
  if (missing.length > 0) ui.line(ui.style.warn(`Missing in the submission: ${examplesOf(missing)}`));
  if (out !== null) ui.line(ui.style.dim(out));
  return undefined;
}

function refuseUnknown(file: string, unknown: readonly string[]): void {
  if (unknown.length === 0) return;
  const what = `${plural(unknown.length, 'query', 'queries')} of ${file} ${unknown.length === 1 ? 'is' : 'are'} not in the solution: ${examplesOf(unknown)}`;
  throw new CairnError('bad_row', what, {
    details: { remedy: 'Pass the solution of the same queries (--solution), or remove the rows of other queries.' },
  });
}

function examplesOf(ids: readonly string[]): string {
  return `${ids.slice(0, 3).join(', ')}${ids.length > 3 ? ', ...' : ''}`;
}

/** The solution's file, which may be given by its folder: flat as downloaded, or with test/. */
export async function solutionFile(given: string): Promise<string> {
  const name = 'retrieval_solution_v2.1.csv';
  const path = resolve(given);
  for (const candidate of [path, join(path, name), join(path, 'test', name)]) {
    if ((await stat(candidate).catch(() => null))?.isFile()) return candidate;
  }
  throw new CairnError('missing_file', `${path} is not a solution, and does not contain ${name}`, {
    details: { remedy: 'Pass the CSV file, or its folder.' },
  });
}

/** The scores as a table of Public, Private and both. */
export function scoreLines({ mapAt100, byUsage, queries, cmc, precision, precisionReference, recall }: ScoreMetrics): string[] {
  const all = { meanAveragePrecision: mapAt100.reference, cmc, precision, precisionReference, recall };
  const columns = [all, byUsage.public, byUsage.private];
  const percent = (share: number | null | undefined): string => (share === null || share === undefined ? '' : formatPercent(share, 2));
  const { kaggle, intervals } = mapAt100;
  const between = (interval: Interval): string => (interval === null ? '' : formatRange(interval.low, interval.high, 2));
  const ranks = ['1', '5', '10', '20', '100'] as const;
  const at = (title: string, of: (column: (typeof columns)[number]) => Record<(typeof ranks)[number], number> | null): string[][] =>
    ranks.map((rank) => [`${title}@${rank}`, ...columns.map((column) => percent(of(column)?.[rank]))]);
  const rows = [
    ['mAP@100, Kaggle', ...[kaggle.all, kaggle.public, kaggle.private].map(percent)],
    ['95 % interval', ...[intervals.kaggle.all, intervals.kaggle.public, intervals.kaggle.private].map(between)],
    ['mAP@100, eval_cbir', ...columns.map(({ meanAveragePrecision }) => percent(meanAveragePrecision))],
    ...at('CMC', (column) => column.cmc),
    ...at('precision', (column) => column.precision),
    ...at('precision, eval_cbir', (column) => column.precisionReference),
    ...at('recall', (column) => column.recall),
  ];
  const titles = ['', 'all', 'public', 'private'].map((title) => ({ title, align: title === '' ? 'left' : 'right' }) as const);
  const without =
    queries.withoutPredictions === 0 ? '' : `, ${formatCount(queries.withoutPredictions)} of them without predictions: they score 0`;
  return [
    ...tableLines(titles, rows),
    `${plural(queries.public + queries.private, 'query', 'queries')}${without}; ${formatCount(queries.ignored)} ignored`,
  ];
}
