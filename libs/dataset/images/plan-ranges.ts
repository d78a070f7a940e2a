import { type ImageLocation, largestImageBytes } from './image-reader.ts';

/** Bytes of a tar that are requested together, with the headers of their images. */
export type TarRange = { tar: string; start: number; end: number; images: ImageLocation[] };

export const headerBytes = 512;

export type RangeLimits = {
  /** Of a range; a larger image is a range of its own. */
  bytes: number;
  /** Bytes between two images that are read and thrown away: a request takes longer. */
  gapBytes: number;
};

/** A few in flight fill a fast network, and 8 children keep them in a few hundred MiB. */
const rangeLimits: RangeLimits = { bytes: 8 * 2 ** 20, gapBytes: 2 ** 18 };

/** For images that were chosen to be read together: the trainer's runs begin within 8 MiB (lists.py), so the last one may end after that. */
export const runLimits: RangeLimits = { ...rangeLimits, bytes: 2 * rangeLimits.bytes };

/** Cuts images, in the order in which they are read, into ranges of their tars. Images that are in no tar, empty or too large have none. */
export function planRanges(images: readonly ImageLocation[], limits: RangeLimits = rangeLimits): TarRange[] {
  const ranges: TarRange[] = [];
  for (const image of images) {
    const { tar, offset, size } = image;
    if (!tar || typeof offset !== 'number' || !size || size > largestImageBytes) continue;
    const [start, end] = [Math.max(0, offset - headerBytes), offset + size];
    const last = ranges.at(-1);
    const fits = last?.tar === tar && start >= last.end && start - last.end <= limits.gapBytes && end - last.start <= limits.bytes;
    if (last !== undefined && fits) {
      last.end = end;
      last.images.push(image);
    } else {
      ranges.push({ tar, start, end, images: [image] });
    }
  }
  return ranges;
}
