import { openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  CairnError,
  evaluationReference,
  maxPictureBytes,
  type NeighboursView,
  type QueryScorePage,
  queryOrders,
  scoredDepth,
} from '@cairn/contract';
import { Option } from 'commander';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import { tableLines } from '../output/table.ts';
import { formatCount, formatPercent, plural } from '../output/units.ts';
import { withRunId } from './compare.ts';
import { wholeNumber } from './options.ts';

/** Commands that look at single queries and images. */
export function addQueries({ program, action }: Registrar): void {
  program
    .command('queries <evaluation>')
    .description(
      'lists the queries of an evaluation with their average precision, or with --query what the search found; named as RUN, RUN/STEP, MODEL@VERSION or an id',
    )
    .addOption(new Option('--sort <order>', 'the order of the queries').choices(queryOrders).default('worst'))
    .option('--against <evaluation>', 'an evaluation of the same gallery and queries to compare with')
    .option('--query <id>', 'shows what was found for this query')
    .option('--limit <count>', 'queries, or results of the query', wholeNumber(1, scoredDepth), 20)
    .action(action(queries));
  program
    .command('rejected <run> <step>')
    .description('lists the images that an extraction left out, with their reasons')
    .option('--limit <count>', 'images', wholeNumber(1, 100_000), 100)
    .action(action(rejected));
  program
    .command('similar <picture>')
    .description('finds the nearest images to a picture, by a registered model and its features, in the service')
    .requiredOption('--model <model>', 'MODEL, MODEL@VERSION or MODEL@ALIAS')
    .option('--top-k <count>', 'images to find', wholeNumber(1, 100), 10)
    .action(action(similar));
}

type QueriesOptions = { sort: (typeof queryOrders)[number]; against?: string; query?: string; limit: number };

async function queries({ ui, signal, client }: Session, text: string, options: QueriesOptions): Promise<undefined> {
  const api = await client();
  const named = async (reference: string): Promise<string> => {
    if (evaluationReference.safeParse(reference).success) return withRunId(api, reference, signal);
    throw new CairnError('invalid_request', `${reference} does not name an evaluation`, {
      details: { remedy: 'Use RUN, RUN/STEP, MODEL@VERSION or an id.' },
    });
  };
  const of = await named(text);
  const against = options.against === undefined ? undefined : await named(options.against);
  const { sort, limit, query } = options;
  if (query !== undefined) {
    const view = await api.listNeighbours({ of, against, query: [query], limit }, { signal });
    ui.json(view);
    for (const line of neighbourLines(view)) ui.line(line);
    return undefined;
  }
  const page = await api.listQueryScores({ of, against, sort, limit }, { signal });
  ui.json(page);
  for (const line of queryLines(page, against !== undefined)) ui.line(line);
  return undefined;
}

const points = (share: number): string => `${share < 0 ? '' : '+'}${(share * 100).toFixed(2)}`;

function queryLines({ items, total }: QueryScorePage, isCompared: boolean): string[] {
  const columns = ['query', 'AP (Kaggle)', 'AP (eval_cbir)', 'found', 'first wrong', ...(isCompared ? ['change'] : [])].map(
    (title, at) => ({ title, align: at === 0 ? 'left' : 'right' }) as const,
  );
  const rows = items.map(
    ({ queryId, averagePrecision, averagePrecisionReference: reference, hits, groundTruths, firstWrong, difference }) => [
      queryId,
      formatPercent(averagePrecision, 2),
      reference === null ? '-' : formatPercent(reference, 2),
      `${hits} of ${groundTruths}`,
      firstWrong === null ? '-' : `${firstWrong.imageId} at ${firstWrong.rank}`,
      ...(isCompared ? [difference === null ? '-' : points(difference)] : []),
    ],
  );
  return [...tableLines(columns, rows), `${formatCount(items.length)} of ${plural(total, 'query', 'queries')}`];
}

function neighbourLines({ queries: [results], dataset }: NeighboursView): string[] {
  if (results === undefined) return [];
  const { query, items, missed, missedTotal } = results;
  const columns = ['rank', 'image', '', 'similarity', 'label', 'shard', 'rank in the other'].map(
    (title, at) => ({ title, align: at === 1 || at === 2 ? 'left' : 'right' }) as const,
  );
  const rows = items.map(({ rank, imageId, isRight, score, label, shard, otherRank }) => [
    String(rank),
    imageId,
    isRight ? 'right' : 'wrong',
    score.toFixed(4),
    String(label ?? '-'),
    String(shard ?? '-'),
    String(otherRank ?? '-'),
  ]);
  const shown = missed.slice(0, 20).map(({ imageId }) => imageId);
  return [
    `${query.queryId} of ${dataset ?? 'an unknown dataset'}: AP ${formatPercent(query.averagePrecision, 2)}, ${query.hits} of ${query.groundTruths} found`,
    ...tableLines(columns, rows),
    ...(missedTotal === 0 ? [] : [`Missed: ${shown.join(', ')}${missedTotal > shown.length ? ', ...' : ''}`]),
  ];
}

async function rejected({ ui, signal, client }: Session, text: string, step: string, { limit }: { limit: number }): Promise<undefined> {
  const api = await client();
  const run = await findRun(api, text, signal);
  const items = [];
  let total = 0;
  for (let cursor: string | undefined; items.length < limit; ) {
    const page = await api.listRejected(
      run.id,
      step,
      { limit: Math.min(200, limit - items.length), ...(cursor === undefined ? {} : { cursor }) },
      { signal },
    );
    items.push(...page.items);
    total = page.total;
    if (page.nextCursor === null) break;
    cursor = page.nextCursor;
  }
  ui.json({ items, total });
  const columns = ['shard', 'image', 'reason'].map((title, at) => ({ title, align: at === 0 ? 'right' : 'left' }) as const);
  for (const line of tableLines(
    columns,
    items.map(({ shard, path, reason }) => [String(shard), path, reason]),
  ))
    ui.line(line);
  ui.line(`${formatCount(items.length)} of ${plural(total, 'rejected image')}`);
  return undefined;
}

async function similar(
  { ui, signal, client }: Session,
  file: string,
  { model, topK }: { model: string; topK: number },
): Promise<undefined> {
  const path = resolve(file);
  const found = await stat(path).catch(() => null);
  if (!found?.isFile())
    throw new CairnError('missing_file', `${path} is not a file`, { details: { remedy: 'Name a picture on this machine.' } });
  if (found.size > maxPictureBytes) {
    throw new CairnError('payload_too_large', `${path} has ${found.size} bytes; a picture may have ${maxPictureBytes}`, {
      details: { remedy: 'Make the picture smaller.' },
    });
  }
  const view = await (await client()).searchPicture({ model, topK }, await openAsBlob(path), { signal });
  ui.json(view);
  const columns = ['rank', 'image', 'similarity', 'label'].map((title, at) => ({ title, align: at === 1 ? 'left' : 'right' }) as const);
  const rows = view.items.map(({ rank, imageId, score, label }) => [String(rank), imageId, score.toFixed(4), String(label ?? '-')]);
  for (const line of tableLines(columns, rows)) ui.line(line);
  ui.line(`The nearest of ${plural(view.galleryRows, 'image')} by ${view.model}, in ${view.seconds.toFixed(1)} s`);
  return undefined;
}
