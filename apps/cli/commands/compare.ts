import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { CairnClient } from '@cairn/client';
import {
  CairnError,
  type ComparedMeans,
  type Comparison,
  evaluationReference,
  idOf,
  isCairnError,
  maxComparedRuns,
  maxSamples,
  maxShownQueries,
  type RunComparison,
  type SettingDifference,
} from '@cairn/contract';
import type { NamedScores } from '@cairn/retrieval';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { withGivenFiles } from '../given-files.ts';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatCount, formatNumber, formatPercent, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

export function addCompare({ program, action }: Registrar): void {
  program
    .command('compare <a> <b>')
    .description(
      'compares two evaluations query by query: the difference in mAP@100 with its interval and p-value, and the queries that changed most; each is RUN, RUN/STEP, MODEL@VERSION or an id, or a folder with per_query.parquet',
    )
    .option(
      '--samples <count>',
      'resamples of the queries (default: 10000, fewer if there are more than 5000 queries)',
      wholeNumber(100, maxSamples),
    )
    .option('--seed <number>', 'seed of the resamples', wholeNumber(0, 2 ** 31 - 1), 0)
    .option('--show <count>', 'queries to show on each side, the most changed first', wholeNumber(0, maxShownQueries), 5)
    .action(action(compare));
}

type CompareOptions = { samples?: number; seed: number; show: number };

/** What is compared: a file here, or an evaluation of the service. */
type Side = { path: string } | { reference: string };

async function compare(session: Session, first: string, second: string, options: CompareOptions): Promise<undefined> {
  const { ui } = session;
  const [a, b] = [await sideOf(first), await sideOf(second)];
  const compared =
    'reference' in a && 'reference' in b
      ? await comparedByService(session, a.reference, b.reference, options)
      : await comparedHere(session, a, b, options);
  ui.json(compared);
  for (const line of comparisonLines(compared)) ui.line(line);
  return undefined;
}

/** A file or folder of scores if there is one, otherwise the name of an evaluation. */
async function sideOf(text: string): Promise<Side> {
  const path = resolve(text);
  const file = path.endsWith('.parquet') ? path : join(path, 'per_query.parquet');
  if ((await stat(file).catch(() => null))?.isFile()) return { path: file };
  if (evaluationReference.safeParse(text).success && !text.endsWith('.parquet') && !(await stat(path).catch(() => null))?.isDirectory())
    return { reference: text };
  throw new CairnError('missing_file', `${file} does not exist`, {
    details: {
      remedy:
        'Pass a folder that `cairn evaluate`, `cairn search --solution` or `cairn score --out` wrote, or name an evaluation of the service: RUN, RUN/STEP or MODEL@VERSION.',
    },
  });
}

type Compared = { a: { name: string }; b: { name: string }; comparison: Comparison };

async function comparedByService({ client, signal }: Session, a: string, b: string, options: CompareOptions): Promise<Compared> {
  const api = await client();
  try {
    const [first, second] = [await withRunId(api, a, signal), await withRunId(api, b, signal)];
    return await api.compareEvaluations({ a: first, b: second, ...options }, { signal });
  } catch (error) {
    throw withPlaces(error, [a, b]);
  }
}

/** A reference with the id of its run, of which people may give the name or the beginning. */
export async function withRunId(client: CairnClient, reference: string, signal: AbortSignal): Promise<string> {
  const isId = (['artifact', 'step'] as const).some((kind) => idOf(kind).safeParse(reference).success);
  if (isId || reference.includes('@')) return reference;
  const [run = '', ...step] = reference.split('/');
  return [(await findRun(client, run, signal)).id, ...step].join('/');
}

/** At least one side is a file: both are read, and compared here. */
async function comparedHere({ client, signal }: Session, a: Side, b: Side, options: CompareOptions): Promise<Compared> {
  const { compareResults, openParquet, readScores } = await import('@cairn/retrieval');
  const parquet = await openParquet();
  try {
    const read = async (side: Side): Promise<NamedScores> =>
      'path' in side
        ? { name: side.path, ...(await withGivenFiles(() => readScores(parquet, side.path, signal))) }
        : scoresOfService(await client(), side.reference, signal);
    const [first, second] = [await read(a), await read(b)];
    return { a: { name: first.name }, b: { name: second.name }, comparison: await compareResults(first, second, { ...options, signal }) };
  } finally {
    await parquet.close();
  }
}

async function scoresOfService(client: CairnClient, reference: string, signal: AbortSignal): Promise<NamedScores> {
  try {
    const of = await withRunId(client, reference, signal);
    const { name, gallery, groundTruthDigest } = await client.getEvaluation(of, { signal });
    const queries = [];
    for await (const { before: _, difference: __, ...query } of client.eachQueryScore({ of, sort: 'id', limit: 200 }, { signal }))
      queries.push(query);
    return { name, gallery, groundTruthDigest: groundTruthDigest ?? '', queries };
  } catch (error) {
    throw withPlaces(error, [reference]);
  }
}

/** A reference that contains a slash may have been meant as a folder. */
function withPlaces(error: unknown, references: readonly string[]): unknown {
  const folders = references.filter((reference) => reference.includes('/'));
  if (!isCairnError(error, 'not_found', 'unavailable') || folders.length === 0) return error;
  const files = folders.map((folder) => join(resolve(folder), 'per_query.parquet')).join(' or ');
  const remedy = `${String(error.details.remedy ?? error.row.remedy)} There is no file ${files} either.`;
  return new CairnError(error.code, error.message, { cause: error, details: { ...error.details, remedy } });
}

const points = (share: number): string => `${share < 0 ? '' : '+'}${(share * 100).toFixed(2)}`;

function comparisonLines({ a, b, comparison }: Compared): string[] {
  const { better, worse, equal, gained, lost, bootstrap, isGalleryKnown } = comparison;
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
            compared.p < 0.0001 ? '< 0.0001' : compared.p.toFixed(4),
          ],
        ];
  const titles = ['mAP@100', 'queries', 'a', 'b', 'b - a', `${bootstrap.level * 100} % interval`, 'p'].map(
    (title, at) => ({ title, align: at === 0 ? 'left' : 'right' }) as const,
  );
  const changed = [...gained, ...lost.toReversed()];
  return [
    `a: ${a.name}`,
    `b: ${b.name}`,
    ...tableLines(titles, [...row('all', comparison.all), ...row('public', comparison.public), ...row('private', comparison.private)]),
    `b is better on ${plural(better, 'query', 'queries')}, worse on ${formatCount(worse)}, equal on ${formatCount(equal)}; paired bootstrap and permutation test, ${formatCount(bootstrap.samples)} samples, seed ${bootstrap.seed}`,
    ...(isGalleryKnown ? [] : ['One of them does not record its gallery: make sure that both searched the same images.']),
    ...tableLines(
      Array.from({ length: 4 }, (_, at) => ({ title: '', align: at === 0 ? 'right' : 'left' }) as const),
      changed.map(({ queryId, usage, a: before, b: after, difference }) => [
        points(difference),
        queryId,
        usage,
        `${formatPercent(before, 2)} to ${formatPercent(after, 2)}`,
      ]),
    ),
  ];
}

export function addDiff({ program, action }: Registrar): void {
  program
    .command('diff <runs...>')
    .description(
      'compares runs: the settings that differ, and the mAP@100, GPU-hours and reuse of each step; `compare` compares two evaluations query by query',
    )
    .action(action(diff));
}

async function diff({ ui, signal, client }: Session, texts: readonly string[]): Promise<undefined> {
  if (texts.length < 2 || texts.length > maxComparedRuns) {
    throw new CairnError('invalid_request', `${texts.length} ${texts.length === 1 ? 'run is' : 'runs are'} given`, {
      details: { remedy: `Name two to ${maxComparedRuns} runs.` },
    });
  }
  const api = await client();
  const ids: string[] = [];
  for (const text of texts) ids.push((await findRun(api, text, signal)).id);
  const comparison = await api.compareRuns(ids, { signal });
  ui.json(comparison);
  for (const line of differenceLines(comparison, ui)) ui.line(line);
  return undefined;
}

/** The comparison as two tables with a column a run. */
function differenceLines(
  { runs, differences, differencesTotal, steps }: RunComparison,
  { style, glyphs }: Pick<Ui, 'style' | 'glyphs'>,
): string[] {
  const columns = runs.map(({ name }) => ({ title: name }));
  const settings = differences.map(({ step, path, of }) => [step === null ? path : `${step}.${path}`, ...of.map(valueText)]);
  const more = differencesTotal - differences.length;
  const outcomes = steps.map(({ name, of }) => [
    name,
    ...of.map((step) => {
      if (step === null) return '';
      const map = step.scores['mapAt100.end'] ?? step.scores.mapAt100;
      return [
        step.reusedFrom === null ? step.state : `${glyphs.reused} ${step.reusedFrom.runName}`,
        ...(map === undefined ? [] : [`mAP@100 ${formatPercent(map)}`]),
        ...(step.gpuSeconds > 0 ? [`${formatNumber(step.gpuSeconds / 3600)} GPU-hours`] : []),
      ].join(', ');
    }),
  ]);
  const total = ['all', ...runs.map(({ gpuSeconds }) => `${formatNumber(gpuSeconds / 3600)} GPU-hours`)];
  return [
    ...(settings.length === 0
      ? ['The recipes, datasets and settings are the same.']
      : tableLines([{ title: 'setting' }, ...columns], settings, { heading: style.dim })),
    ...(more > 0 ? [style.dim(`and ${more} more`)] : []),
    '',
    ...tableLines([{ title: 'step' }, ...columns], [...outcomes, total], { heading: style.dim }),
  ];
}

const valueText = (one: SettingDifference['of'][number]): string =>
  one === null ? '' : typeof one.value === 'string' ? one.value : JSON.stringify(one.value);
