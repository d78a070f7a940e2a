import { mkdir, rename, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { CairnError } from '@cairn/contract';
import type { ComparedMeans, Comparison, ScoreMetrics } from '@cairn/retrieval';
import type { Registrar, Session } from '../cli.ts';
import { tableLines } from '../output/table.ts';
import { formatCount, formatPercent, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

export function addScores({ program, action }: Registrar): void {
  program
    .command('score')
    .description('scores a submission by both definitions of mAP@100, with CMC, precision and recall, without the service')
    .requiredOption('--submission <file>', 'submission.csv: id,images')
    .requiredOption('--solution <path>', 'retrieval_solution_v2.1.csv, or the folder of the CSV files')
    .option('--out <folder>', 'the folder to create: metrics.json and per_query.parquet')
    .action(action(score));
  program
    .command('compare <a> <b>')
    .description('compares two scored results query by query, with a bootstrap interval of the difference in mAP@100')
    .option('--samples <count>', 'resamples of the queries', wholeNumber(100, 1_000_000), 10_000)
    .option('--seed <number>', 'seed of the resamples', wholeNumber(0, 2 ** 31 - 1), 0)
    .option('--show <count>', 'queries to show on each side, the most changed first', wholeNumber(0, 1000), 5)
    .action(action(compare));
}

async function score({ ui, signal }: Session, options: { submission: string; solution: string; out?: string }): Promise<undefined> {
  const { makingBeside, refuseTaken } = await import('@cairn/dataset');
  const { openParquet, readSolution, readSubmission, scorePredictions, writeScores } = await import('@cairn/retrieval');
  const out = options.out === undefined ? null : resolve(options.out);
  if (out !== null) await refuseTaken(out, 'the scores');
  const groundTruth = await readSolution(await solutionFile(options.solution));
  const { metrics, perQuery } = scorePredictions(await readSubmission(resolve(options.submission)), groundTruth);
  if (out !== null) {
    const parquet = await openParquet();
    const write = async (making: string): Promise<void> => {
      const made = join(making, 'scores');
      await mkdir(made);
      await writeScores(parquet, { out: made, metrics, perQuery }, signal);
      await rename(made, out);
    };
    await makingBeside(out, write, signal).finally(() => parquet.close());
  }
  ui.json(metrics);
  for (const line of scoreLines(metrics)) ui.line(line);
  if (out !== null) ui.line(ui.style.dim(out));
  return undefined;
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
  const { kaggle } = mapAt100;
  const ranks = ['1', '5', '10', '20', '100'] as const;
  const at = (title: string, of: (column: (typeof columns)[number]) => Record<(typeof ranks)[number], number> | null): string[][] =>
    ranks.map((rank) => [`${title}@${rank}`, ...columns.map((column) => percent(of(column)?.[rank]))]);
  const rows = [
    ['mAP@100, Kaggle', ...[kaggle.all, kaggle.public, kaggle.private].map(percent)],
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

type CompareOptions = { samples: number; seed: number; show: number };

async function compare({ ui, signal }: Session, a: string, b: string, options: CompareOptions): Promise<undefined> {
  const { compareResults, openParquet, readQueryResults } = await import('@cairn/retrieval');
  const parquet = await openParquet();
  try {
    const [first, second] = [await readQueryResults(parquet, resolve(a), signal), await readQueryResults(parquet, resolve(b), signal)];
    const comparison = compareResults(first, second, options);
    ui.json(comparison);
    for (const line of comparisonLines(comparison, options.show)) ui.line(line);
    return undefined;
  } finally {
    await parquet.close();
  }
}

function comparisonLines({ better, worse, equal, perQuery, samples, seed, ...means }: Comparison, show: number): string[] {
  const points = (share: number): string => `${share < 0 ? '' : '+'}${(share * 100).toFixed(2)}`;
  const row = (title: string, compared: ComparedMeans | null): string[][] =>
    compared === null
      ? []
      : [
          [
            title,
            formatCount(compared.queries),
            formatPercent(compared.a, 2),
            formatPercent(compared.b, 2),
            points(compared.difference),
            `${points(compared.low)} to ${points(compared.high)}`,
          ],
        ];
  const titles = ['', 'queries', 'a', 'b', 'b - a', '95 % interval'].map(
    (title) => ({ title, align: title === '' ? 'left' : 'right' }) as const,
  );
  const changed = [
    ...perQuery.slice(0, show).filter(({ difference }) => difference > 0),
    ...perQuery.slice(Math.max(0, perQuery.length - show)).filter(({ difference }) => difference < 0),
  ];
  return [
    ...tableLines(titles, [...row('all', means.all), ...row('public', means.public), ...row('private', means.private)]),
    `b is better on ${plural(better, 'query', 'queries')}, worse on ${formatCount(worse)}, equal on ${formatCount(equal)}; ${formatCount(samples)} resamples, seed ${seed}`,
    ...tableLines(
      Array.from({ length: 4 }, (_, at) => ({ title: '', align: at === 0 ? 'right' : 'left' }) as const),
      changed.map(({ queryId, usage, a, b, difference }) => [
        points(difference),
        queryId,
        usage,
        `${formatPercent(a, 2)} to ${formatPercent(b, 2)}`,
      ]),
    ),
  ];
}
