import { CairnError, isCairnError } from '@cairn/contract';
import { untilAborted } from '@cairn/runtime';
import { type DecodePool, withinTime } from '../image/decode-pool.ts';
import { reasonOf, UnreadableImage } from '../image/unreadable-image.ts';

/** A row of the list. `read` may need more fields, such as a tar's offset. Its bytes are `size` in a tar, otherwise `fileBytes`. */
export type ImageRow = { imageId: string; path: string; size?: number | null; fileBytes?: number | null };

/** Reads the file of one row. It should stop when the signal is aborted. */
export type ReadImage<Row extends ImageRow> = (row: Row, signal: AbortSignal) => Promise<Uint8Array>;

/** What became of a row: its pixels are in its slot, unless there is a reason why not. */
export type PreparedImage<Row extends ImageRow> = { row: Row; reason: string | null };

export type ImageQueueOptions<Row extends ImageRow> = {
  rows: readonly Row[];
  read: ReadImage<Row>;
  decoder: DecodePool;
  /** Where the pixels of the rows go, in turn: as many images as are read, decoded or in use at once. */
  slots: readonly Uint8Array[];
  readTimeoutMs: number;
  signal: AbortSignal | undefined;
};

export type ImageQueue<Row extends ImageRow> = {
  /** The next `count` images, fewer at the end, in the order of the rows. Rejects if the fault is not the image's. */
  take(count: number): Promise<PreparedImage<Row>[]>;
  /** Waits until the next `count` images are read, so that decoding them no longer needs the event loop. */
  untilRead(count: number): Promise<void>;
  /** Lets the slots of all taken images be used again. */
  release(): void;
  /** Seconds spent waiting in `take` and `untilRead`, for bytes and for pixels. */
  readonly waited: { read: number; decode: number };
  /** Stops pending work. */
  close(): void;
};

/** If more images than this take too long, the decoder's threads hang and good images would be rejected. */
const MAX_SLOW_IMAGES = 3;

type Begun<Row extends ImageRow> = { bytes: Promise<Uint8Array | UnreadableImage>; image: Promise<PreparedImage<Row>> };

/**
 * Reads and decodes ahead, in order. Decoding runs on the decoder's threads, also while ONNX Runtime blocks the event loop; only reading
 * needs the loop.
 */
export function createImageQueue<Row extends ImageRow>(options: ImageQueueOptions<Row>): ImageQueue<Row> {
  const { rows, read, decoder, slots, readTimeoutMs } = options;
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const begun: Begun<Row>[] = [];
  const waited = { read: 0, decode: 0 };
  let started = 0;
  let taken = 0;
  let released = 0;
  const slow: string[] = [];

  async function readRow(row: Row): Promise<Uint8Array | UnreadableImage> {
    const late = () => new CairnError('storage_failed', `Reading ${nameOf(row)} took longer than ${readTimeoutMs / 1000} s`);
    try {
      return await withinTime((readSignal) => read(row, readSignal), { ms: readTimeoutMs, signal, error: late });
    } catch (error) {
      if (!isFaultOfImage(error)) throw error;
      return new UnreadableImage(reasonOf(error), { cause: error });
    }
  }

  async function prepare(row: Row, bytes: Promise<Uint8Array | UnreadableImage>, slot: Uint8Array): Promise<PreparedImage<Row>> {
    try {
      const content = await bytes;
      if (content instanceof UnreadableImage) throw content;
      await untilAborted(decoder.preprocess(content, slot), signal);
      return { row, reason: null };
    } catch (error) {
      // The decoder failed, and only this place knows at which image.
      if (isCairnError(error, 'program_failed') && !signal.aborted)
        throw new CairnError('program_failed', `${error.message}; at that time it decoded ${nameOf(row)}`, { cause: error });
      if (!(error instanceof UnreadableImage)) throw error;
      if (error.isSlow) slow.push(nameOf(row));
      if (slow.length <= MAX_SLOW_IMAGES) return { row, reason: error.message };
      throw new CairnError(
        'program_failed',
        `${slow.length} images took longer than ${decoder.timeoutMs / 1000} s to decode, ${slow.join(', ')}: the decoder hangs. ` +
          'Restart the worker; remove the images named here if they are the cause.',
        { cause: error },
      );
    }
  }

  function fill(): void {
    while (started < Math.min(rows.length, released + slots.length)) {
      const row = rows[started] as Row;
      const bytes = readRow(row);
      const image = prepare(row, bytes, slots[started % slots.length] as Uint8Array);
      // They are awaited in order; until then a failure must not count as unhandled.
      image.catch(() => undefined);
      begun.push({ bytes, image });
      started += 1;
    }
  }

  return {
    waited,
    async take(count) {
      signal.throwIfAborted();
      fill();
      const images: PreparedImage<Row>[] = [];
      for (const { bytes, image } of begun.splice(0, count)) {
        await timed(waited, 'read', bytes);
        images.push(await timed(waited, 'decode', image));
      }
      taken += images.length;
      return images;
    },
    async untilRead(count) {
      await timed(waited, 'read', Promise.allSettled(begun.slice(0, count).map(({ bytes }) => bytes)));
    },
    release() {
      released = taken;
      fill();
    },
    close() {
      stop.abort(new CairnError('internal', 'The image queue is closed'));
    },
  };
}

const nameOf = ({ imageId, path }: ImageRow): string => `${path} (image ${imageId})`;

async function timed<T>(waited: { read: number; decode: number }, phase: 'read' | 'decode', work: Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await work;
  } finally {
    waited[phase] += (performance.now() - start) / 1000;
  }
}

/**
 * Errors of `read` for a single image: `missing_file` with a reason in its details, or the system's error for a missing file. Other errors
 * fail the shard, such as a missing tar or folder.
 */
function isFaultOfImage(error: unknown): boolean {
  if (isCairnError(error)) return error.code === 'missing_file' && typeof error.details.reason === 'string';
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'EISDIR');
}
