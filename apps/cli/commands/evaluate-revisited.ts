import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { RevisitedMetrics } from '@cairn/retrieval';
import { sha256File } from '@cairn/runtime';
import { z } from 'zod';
import type { Session } from '../cli.ts';
import { runPython } from '../imports/upload-weights.ts';
import { createProgressLine } from '../output/live-screen.ts';
import { tableLines } from '../output/table.ts';
import { formatCount, formatPercent, formatRange, plural } from '../output/units.ts';

const positions = z.array(z.number().int());
/** What `cairn_trainer.read_revisited` answers. */
const revisitedTruth = z.object({
  images: z.array(z.string()),
  queries: z.array(z.object({ id: z.string(), easy: positions, hard: positions, junk: positions })),
});

export type RevisitedOptions = { queries: string; index: string; revisited: string; out: string };

/** Rows of the index that are compared with all queries before a key or Ctrl-C is looked at. */
const blockRows = 4_096;

/** `cairn evaluate --revisited`: mAP and mP@k of revisited Oxford or Paris, from its published ground truth. */
export async function evaluateRevisitedSets(session: Session, options: RevisitedOptions): Promise<undefined> {
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
    const scored = await evaluateRevisited({ parquet, queries, index, truth, blockRows, signal, onProgress });
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
