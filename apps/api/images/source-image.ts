import { CairnError } from '@cairn/contract';
import { ImageUnavailable, openImageReader } from '@cairn/dataset/images';
import { untilAborted } from '@cairn/runtime';
import { unreadableImage } from '../compute/make-picture.ts';
import type { ImageLocation } from '../compute/messages.ts';

export type SourceImage = { path: string; image: Buffer };

/** A page waits for it: an outage is told soon, and not waited for as an extraction does. */
const pageLimits = { firstPauseMs: 200, longestPauseMs: 1_000, patienceMs: 8_000, idleMs: 5_000, mostTries: 3 };
export type SourceImageLimits = typeof pageLimits;
const longestMs = 30_000;
/** Of an image that is read into the memory of this process. Photographs have some MB. */
const mostBytes = 32_000_000;
const readAtATime = 3;

/**
 * Creates the function that reads the first image that exists of a dataset at an address; null where none does. It runs in this process,
 * which has the credentials of the storage, and decodes nothing.
 */
export function sourceImages(limits: SourceImageLimits = pageLimits) {
  let reading = 0;
  const waiting: (() => void)[] = [];

  /** @throws CairnError `unreadable_image`; as the source does; `storage_failed` where it does not answer in time */
  return async (root: string, roots: readonly string[], candidates: readonly ImageLocation[]): Promise<SourceImage | null> => {
    if (reading >= readAtATime) await new Promise<void>((resolve) => waiting.push(resolve));
    else reading += 1;
    try {
      return await readFirst({ root, roots, candidates, limits });
    } finally {
      const next = waiting.shift();
      if (next === undefined) reading -= 1;
      else next();
    }
  };
}

type Wanted = { root: string; roots: readonly string[]; candidates: readonly ImageLocation[]; limits: SourceImageLimits };

async function readFirst({ root, roots, candidates, limits }: Wanted): Promise<SourceImage | null> {
  const stop = new AbortController();
  const timer = setTimeout(
    () => stop.abort(new CairnError('storage_failed', `${root} gave no image within ${longestMs / 1000} s`)),
    longestMs,
  );
  const reader = await openImageReader(root, roots, limits, mostBytes);
  try {
    for (const location of candidates) {
      try {
        return { path: location.path, image: await untilAborted(reader.read(location, stop.signal), stop.signal) };
      } catch (error) {
        if (!(error instanceof ImageUnavailable)) throw error;
        if (error.reason !== 'missing') throw unreadableImage(location.path, error);
      }
    }
    return null;
  } finally {
    clearTimeout(timer);
    await reader.close();
  }
}
