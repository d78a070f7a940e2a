import { z } from 'zod';
import { wholeNumber } from './names.ts';

// What a list of images has in it, for people: recorded when it is made.

/** Most sampled images of a list. */
export const mostSamples = 24;
/** Most of its largest labels that are named. */
export const mostLargest = 10;

/** Rows by label: how unevenly a list is divided among its labels. Rows without a label do not count. */
export const labelSizes = z.object({
  /** Labels by their number of rows, in powers of two: 1, 2 to 3, 4 to 7 and so on, without gaps. */
  bins: z.array(z.object({ from: wholeNumber, to: wholeNumber, labels: wholeNumber, rows: wholeNumber })).max(53),
  least: wholeNumber,
  median: z.number(),
  most: wholeNumber,
  /** Those with the most rows, at most 10. */
  largest: z.array(z.object({ label: wholeNumber, rows: wholeNumber })),
});
export type LabelSizes = z.infer<typeof labelSizes>;

/** An image of a list, chosen by a hash of its id: the same ones each time. */
export const listSample = z.object({ imageId: z.string(), label: wholeNumber.nullable() });
export type ListSample = z.infer<typeof listSample>;

/**
 * Label sizes from the number of labels that have each number of rows.
 *
 * @param counts by ascending `rows`
 */
export function labelSizesOf(counts: readonly { rows: number; labels: number }[], largest: LabelSizes['largest']): LabelSizes | null {
  const [first] = counts;
  const last = counts.at(-1);
  if (first === undefined || last === undefined) return null;
  const binOf = (rows: number): number => 31 - Math.clz32(rows);
  const bins = Array.from({ length: binOf(last.rows) + 1 }, (_, bin) => ({ from: 2 ** bin, to: 2 ** (bin + 1) - 1, labels: 0, rows: 0 }));
  for (const { rows, labels } of counts) {
    const bin = bins[binOf(rows)];
    if (bin === undefined) continue;
    bin.labels += labels;
    bin.rows += rows * labels;
  }
  const total = counts.reduce((sum, { labels }) => sum + labels, 0);
  /** The number of rows of the label at this place, by ascending number of rows. */
  const rowsAt = (place: number): number => {
    let before = 0;
    for (const { rows, labels } of counts) {
      before += labels;
      if (place < before) return rows;
    }
    return last.rows;
  };
  const median = (rowsAt(Math.floor((total - 1) / 2)) + rowsAt(Math.floor(total / 2))) / 2;
  return { bins: bins.slice(binOf(first.rows)), least: first.rows, median, most: last.rows, largest: [...largest] };
}
