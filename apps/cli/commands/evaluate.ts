import { mkdir, rename, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { assertOneOrigin, CairnError } from '@cairn/contract';
import type { EvaluationMetrics, Features, QueryVectors, RevisitedMetrics } from '@cairn/retrieval';
import { sha256File } from '@cairn/runtime';
import { Option } from 'commander';
import { z } from 'zod';
import type { Registrar, Session } from '../cli.ts';
import { runPython } from '../imports/upload-weights.ts';
import { createProgressLine } from '../output/live-screen.ts';
import { tableLines } from '../output/table.ts';
import { formatCount, formatDuration, formatInterval, formatPercent, formatRange, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

type EvaluateOptions = { queries: string; index: string; metadata?: string; revisited?: string; out: string; topK: number };

export function addEvaluate({ program, action }: Registrar): void {
  program
    .command('evaluate')
    .description('searches one feature set for the images of another and scores the result like a run, without the service')
    .requiredOption('--queries <folder>', 'the feature set of the queries, extracted here or imported')
    .requiredOption('--index <folder>', 'the feature set to search')
    .option('--metadata <folder>', 'the CSV files: retrieval_solution_v2.1.csv has the queries and their ground truths')
    .addOption(
      new Option(
        '--revisited <file>',
        'instead of --metadata: the published ground truth of revisited Oxford or Paris, such as gnd_roxford5k.pkl; ids are its names of images',
      ).conflicts(['metadata', 'topK']),
    )
    .requiredOption(
      '--out <folder>',
      'the folder to create: metrics.json, and with --metadata per_query.parquet, submission.csv and neighbours.parquet',
    )
    .option('--top-k <count>', 'neighbours of each query', wholeNumber(1, 10_000), 100)
    .action(action(evaluate));
}

async function evaluate(session: Session, { metadata, revisited, ...options }: EvaluateOptions): Promise<undefined> {
  if (revisited !== undefined) return evaluateRevisitedSets(session, { ...options, revisited });
  if (metadata !== undefined) return evaluateLandmarks(session, { ...options, metadata });
  throw new CairnError('invalid_request', 'the ground truths are missing', {
    details: { remedy: 'Pass --metadata with the CSV files of GLDv2, or --revisited with the ground truth of revisited Oxford or Paris.' },
  });
}

const blockRows = 50_000;

type LandmarkOptions = { queries: string; index: string; metadata: string; out: string; topK: number };

async function evaluateLandmarks({ ui, signal }: Session, options: LandmarkOptions): Promise<undefined> {
  const { makingBeside, prepareLists, refuseTaken, requireFolder } = await import('@cairn/dataset');
  const { evaluateNeighbours, openParquet, readFeatures, readImageIds, readOrigins, searchExact } = await import('@cairn/retrieval');
  const [index, metadata, out] = [options.index, options.metadata, options.out].map((path) => resolve(path)) as [string, string, string];
  await refuseTaken(out, 'the evaluation');
  await requireFolder('The feature set of the queries', resolve(options.queries));
  await requireFolder('The feature set that is searched', index);
  assertOneOrigin('the evaluation', await readOrigins([resolve(options.queries), index]));
  const began = performance.now();
  const parquet = await openParquet();
  const progress = createProgressLine(ui, 'searching');
  try {
    const { metrics, left } = await makingBeside(
      out,
      async (making) => {
        const [lists, made] = [join(making, 'lists'), join(making, 'evaluation')];
        await prepareLists({ metadata, images: { kind: 'folder', root: metadata }, lists: ['query'], testSeed: 0, out: lists, signal });
        const queryList = join(lists, 'lists/query.parquet');
        const features = await readFeatures(resolve(options.queries), parquet, signal);
        const { queries, left } = await scoredQueries(features, await readImageIds(parquet, queryList, signal));
        await mkdir(made);
        const neighbours = join(made, 'neighbours.parquet');
        const search = { parquet, queries, index, topK: options.topK, blockRows, threads: availableParallelism(), out: neighbours, signal };
        await searchExact({ ...search, onProgress: ({ rows, total }) => progress.show(rows, total) });
        const groundTruth = join(lists, 'lists/ground_truth.parquet');
        const metrics = await evaluateNeighbours({ parquet, neighbours, groundTruth, queryList, atK: 100, out: made, signal });
        await rename(made, out);
        return { metrics, left };
      },
      signal,
    ).finally(progress.close);
    ui.json(metrics);
    for (const line of metricLines(metrics)) ui.line(line);
    if (left > 0) ui.line(`${plural(left, 'vector')} of ${options.queries} left out: not scored queries.`);
    ui.line(`Evaluated in ${formatDuration((performance.now() - began) / 1000)}.  ${ui.style.dim(out)}`);
    return undefined;
  } finally {
    await parquet.close();
  }
}

/** The vectors of the scored queries in a feature set, and how many others it has: the reference's may cover the whole test split. */
async function scoredQueries(features: Features, scored: readonly string[]): Promise<{ queries: QueryVectors; left: number }> {
  const { ids, dim, dir } = features;
  const isScored = new Set(scored);
  const rows = [...ids].flatMap((id, row) => (isScored.has(id) ? [row] : []));
  if (rows.length === 0) {
    throw new CairnError('bad_row', `none of the ${plural(ids.length, 'vector')} of ${dir} belongs to a scored query`, {
      details: { remedy: 'Pass the features of the queries as --queries, and their metadata.' },
    });
  }
  const all = await features.read(0, ids.length);
  const values = new Float32Array(rows.length * dim);
  for (const [at, row] of rows.entries()) values.set(all.subarray(row * dim, (row + 1) * dim), at * dim);
  return { queries: { ids: rows.map((row) => ids.at(row) ?? ''), values, dim }, left: ids.length - rows.length };
}

function metricLines({ mapAt100, byContinent = {}, queries, galleryRows, galleryDigest }: EvaluationMetrics): string[] {
  const { kaggle, reference, intervals } = mapAt100;
  const percent = (share: number | null): string => (share === null ? 'none' : formatPercent(share, 2));
  const without =
    queries.withoutNeighbours === 0 ? '' : `, ${formatCount(queries.withoutNeighbours)} of them without features: they score 0`;
  const { low, high } = intervals.kaggle.all ?? {};
  const places = Object.entries(byContinent).map(
    ([name, of]) => `${name} ${percent(of.kaggle)} (${plural(of.queries, 'query', 'queries')})`,
  );
  return [
    `mAP@100 ${percent(kaggle.all)}${formatInterval(low, high, 2)} by Kaggle's formula (public ${percent(kaggle.public)}, private ${percent(kaggle.private)}), ${percent(reference)} by eval_cbir's`,
    ...(places.length === 0 ? [] : [`by continent: ${places.join(', ')}`]),
    `${plural(queries.list, 'query', 'queries')}${without}; ${plural(galleryRows, 'image')} searched, gallery ${galleryDigest.slice(0, 16)}`,
  ];
}

const positions = z.array(z.number().int());
/** What `cairn_trainer.read_revisited` answers. */
const revisitedTruth = z.object({
  images: z.array(z.string()),
  queries: z.array(z.object({ id: z.string(), easy: positions, hard: positions, junk: positions })),
});

type RevisitedOptions = { queries: string; index: string; revisited: string; out: string };

/** Rows of the index that are compared with all queries before a key or Ctrl-C is looked at. */
const revisitedBlockRows = 4_096;

/** `cairn evaluate --revisited`: mAP and mP@k of revisited Oxford or Paris, from its published ground truth. */
async function evaluateRevisitedSets(session: Session, options: RevisitedOptions): Promise<undefined> {
  const { ui, signal } = session;
  const { makingBeside, refuseTaken, requireFolder } = await import('@cairn/dataset');
  const { evaluateRevisited, metricsName, openParquet } = await import('@cairn/retrieval');
  const [queries, index, file, out] = [options.queries, options.index, options.revisited, options.out].map((path) => resolve(path)) as [
    string,
    string,
    string,
    string,
  ];
  await refuseTaken(out, 'the evaluation');
  await requireFolder('The feature set of the queries', queries);
  await requireFolder('The feature set that is searched', index);
  const truth = await runPython(session, 'cairn_trainer.read_revisited', [file], revisitedTruth);
  const parquet = await openParquet();
  const progress = createProgressLine(ui, 'searching');
  try {
    const onProgress = ({ rows, total }: { rows: number; total: number }) => progress.show(rows, total);
    const scored = await evaluateRevisited({ parquet, queries, index, truth, blockRows: revisitedBlockRows, signal, onProgress });
    progress.close();
    const metrics = { ...scored, groundTruth: { path: file, sha256: await sha256File(file, signal) } };
    await makingBeside(
      out,
      async (making) => {
        const made = join(making, 'evaluation');
        await mkdir(made);
        await writeFile(join(made, metricsName), `${JSON.stringify(metrics, null, 2)}\n`);
        await rename(made, out);
      },
      signal,
    );
    ui.json(metrics);
    for (const line of revisitedLines(scored)) ui.line(line);
    ui.line(ui.style.dim(out));
    return undefined;
  } finally {
    progress.close();
    await parquet.close();
  }
}

function revisitedLines({ gallery, perQuery, ...scores }: RevisitedMetrics): string[] {
  const percent = (share: number | null | undefined): string => (share === null || share === undefined ? '' : formatPercent(share, 2));
  const rows = (['easy', 'medium', 'hard'] as const).map((setup) => {
    const { meanAveragePrecision, interval, precision, queries } = scores[setup];
    return [
      setup,
      percent(meanAveragePrecision),
      interval === null ? '' : formatRange(interval.low, interval.high, 2),
      ...([1, 5, 10] as const).map((k) => percent(precision?.[k])),
      formatCount(queries),
    ];
  });
  const titles = ['', 'mAP', '95 % interval', 'mP@1', 'mP@5', 'mP@10', 'queries'];
  const more = [
    ...(gallery.distractors === 0 ? [] : [`${formatCount(gallery.distractors)} of them not in the ground truth: they count as wrong`]),
    ...(gallery.queriesLeftOut === 0 ? [] : [`${plural(gallery.queriesLeftOut, 'query', 'queries')} in the index left out`]),
  ];
  return [
    ...tableLines(
      titles.map((title, at) => ({ title, align: at === 0 ? 'left' : 'right' }) as const),
      rows,
    ),
    `${plural(perQuery.length, 'query', 'queries')}, ${[`${plural(gallery.rows, 'image')} searched`, ...more].join('; ')}`,
  ];
}
