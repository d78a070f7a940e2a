import type { ImageLocation, ImageReader } from '@cairn/dataset';
import type { ImageCache } from './image-cache.ts';

/** Requests for ranges at a time. One connection to S3 gives 50 to 90 MB/s; 8 GPUs read about 550 MB/s. */
const rangesAtOnce = 12;

type HeldRun = {
  /** Programs that have announced it. */
  holders: number;
  /** By the place of each image that the cache of the node does not have. */
  images: Promise<Map<string, Promise<Buffer | null>>>;
  stop: AbortController;
};

export type AnnouncedRuns = {
  /** Reads images that are close to each other in a tar, and keeps them until what this returns was called by all who announced them. */
  announce(images: readonly ImageLocation[]): () => void;
  /** An image of a run that was announced; null for one of no such run, or that the cache has. Throws the error of its range. */
  image(location: ImageLocation): Promise<Buffer | null>;
  close(): void;
};

/**
 * The images that the programs of an attempt ask for next: read in ranges, several at a time, in the order of the announcements, and kept in
 * memory while they are announced. How much that is, is decided by the programs, by the size of their shuffle buffer. Ranks that announce the
 * same run share it.
 */
export function announcedRuns(
  reader: ImageReader,
  cache: ImageCache | null,
  cacheKey: (image: ImageLocation) => string | null,
): AnnouncedRuns {
  const runs = new Map<string, HeldRun>();
  /** The run that has an image, by its place. */
  const runOf = new Map<string, HeldRun>();
  const slots = createSlots(rangesAtOnce);

  /** The ranges of what the cache lacks, as they come. */
  async function begin(images: readonly ImageLocation[], signal: AbortSignal): Promise<Map<string, Promise<Buffer | null>>> {
    const isKept = await Promise.all(
      images.map((image) => {
        const key = cacheKey(image);
        return key === null ? false : (cache?.has(key, image.size ?? 0) ?? false);
      }),
    );
    const found = new Map<string, Promise<Buffer | null>>();
    for (const range of reader.ranges(images.filter((_, at) => !isKept[at]))) {
      const bytes = slots.run(signal, () => range.read(signal));
      for (const [at, image] of range.images.entries()) {
        const one = bytes.then((all) => all[at] ?? null);
        // It may fail, or be withdrawn, before it is asked for.
        one.catch(() => undefined);
        found.set(placeOf(image), one);
      }
      keepAll(range.images, bytes);
    }
    return found;
  }

  function keepAll(images: readonly ImageLocation[], bytes: Promise<readonly Buffer[]>): void {
    const kept = bytes.then(async (all) => {
      for (const [at, image] of images.entries()) {
        const key = cacheKey(image);
        const one = all[at];
        if (key !== null && one !== undefined) await cache?.keep(key, one);
      }
    });
    kept.catch(() => undefined);
  }

  function drop(key: string, run: HeldRun, images: readonly ImageLocation[]): void {
    run.stop.abort();
    runs.delete(key);
    for (const image of images) if (runOf.get(placeOf(image)) === run) runOf.delete(placeOf(image));
  }

  return {
    announce(images) {
      const key = JSON.stringify(images);
      let run = runs.get(key);
      if (run === undefined) {
        const stop = new AbortController();
        run = { holders: 0, stop, images: begin(images, stop.signal) };
        run.images.catch(() => undefined);
        runs.set(key, run);
        for (const image of images) runOf.set(placeOf(image), run);
      }
      const held = run;
      held.holders += 1;
      return () => {
        held.holders -= 1;
        if (held.holders === 0) drop(key, held, images);
      };
    },
    async image(location) {
      const run = runOf.get(placeOf(location));
      if (run === undefined) return null;
      try {
        return (await (await run.images).get(placeOf(location))) ?? null;
      } catch (error) {
        if (run.stop.signal.aborted) return null;
        throw error;
      }
    },
    close() {
      for (const { stop } of runs.values()) stop.abort();
      runs.clear();
      runOf.clear();
    },
  };
}

/** An image with everything that its read checks: a list of another time has another size or time of the tar. */
const placeOf = ({ tar, offset, size, fileBytes, fileChangedMs }: ImageLocation): string =>
  `${tar}:${offset}:${size}:${fileBytes}:${fileChangedMs}`;

/** Runs at most `count` at a time, the others in the order in which they came. */
function createSlots(count: number) {
  let free = count;
  const waiting: (() => void)[] = [];
  return {
    async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        signal.throwIfAborted();
        return await work();
      } finally {
        const next = waiting.shift();
        if (next === undefined) free += 1;
        else next();
      }
    },
  };
}
