import { CairnError, isCairnError, type Preprocessing } from '@cairn/contract';
import { preprocessImage } from '../image/preprocess-image.ts';
import { reasonOf, UnreadableImage } from '../image/unreadable-image.ts';
import { withinTime } from '../image/within-time.ts';

/** A row of the list. `read` may need more fields, such as a tar's offset. */
export type ImageRow = { imageId: string; path: string };

/** Reads the file of one row. It should stop when the signal is aborted. */
export type ReadImage<Row extends ImageRow> = (row: Row, signal: AbortSignal) => Promise<Uint8Array>;

export type PreparedImage<Row extends ImageRow> = { row: Row; pixels: Uint8Array } | { row: Row; reason: string };

export type ImageQueueOptions<Row extends ImageRow> = {
  rows: readonly Row[];
  read: ReadImage<Row>;
  imageSize: number;
  preprocessing: Preprocessing;
  /** Images that are read or decoded and not consumed yet. */
  ahead: number;
  readTimeoutMs: number;
  decodeTimeoutMs: number;
  signal: AbortSignal | undefined;
};

export type ImageQueue<Row extends ImageRow> = {
  /** The next image in the order of the rows, or null after the last. Rejects if the fault is not the image's. */
  next(): Promise<PreparedImage<Row> | null>;
  /** Waits until the next `count` images are read, so that decoding them no longer needs the event loop. */
  untilRead(count: number): Promise<void>;
  /** Seconds spent waiting in `next` and `untilRead`, for bytes and for pixels. */
  readonly waited: { read: number; decode: number };
  /** Stops pending work. */
  close(): void;
};

/** If more images than this take too long, the decoder's threads hang and good images would be rejected. */
const MAX_SLOW_IMAGES = 3;

type Slot<Row extends ImageRow> = { bytes: Promise<Uint8Array | UnreadableImage>; image: Promise<PreparedImage<Row>> };

/**
 * Reads and decodes ahead, in order. Decoding runs on libuv's threads (UV_THREADPOOL_SIZE), also while ONNX Runtime blocks the event loop;
 * only starting the next step of an image needs the loop.
 */
export function createImageQueue<Row extends ImageRow>(options: ImageQueueOptions<Row>): ImageQueue<Row> {
  const { rows, read, imageSize, preprocessing, ahead, readTimeoutMs, decodeTimeoutMs } = options;
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const slots: Slot<Row>[] = [];
  const waited = { read: 0, decode: 0 };
  let started = 0;
  let slow = 0;

  async function readRow(row: Row): Promise<Uint8Array | UnreadableImage> {
    const late = () =>
      new CairnError('storage_failed', `Reading ${row.path} (image ${row.imageId}) took longer than ${readTimeoutMs / 1000} s`);
    try {
      return await withinTime((readSignal) => read(row, readSignal), { ms: readTimeoutMs, signal, error: late });
    } catch (error) {
      if (!isFaultOfImage(error)) throw error;
      return new UnreadableImage(reasonOf(error), { cause: error });
    }
  }

  async function prepare(row: Row, bytes: Promise<Uint8Array | UnreadableImage>): Promise<PreparedImage<Row>> {
    try {
      const content = await bytes;
      if (content instanceof UnreadableImage) throw content;
      return { row, pixels: await preprocessImage(content, { size: imageSize, preprocessing, timeoutMs: decodeTimeoutMs, signal }) };
    } catch (error) {
      if (!(error instanceof UnreadableImage)) throw error;
      if (error.isSlow) slow += 1;
      if (slow <= MAX_SLOW_IMAGES) return { row, reason: error.message };
      throw new CairnError(
        'program_failed',
        `${slow} images took longer than ${decodeTimeoutMs / 1000} s to decode, the last ${row.path} (image ${row.imageId}): the decoder hangs. ` +
          'Restart the worker; remove the images named here if they are the cause.',
        { cause: error },
      );
    }
  }

  function fill(): void {
    while (slots.length < ahead && started < rows.length) {
      const row = rows[started++] as Row;
      const bytes = readRow(row);
      const image = prepare(row, bytes);
      // They are awaited in order; until then a failure must not count as unhandled.
      image.catch(() => undefined);
      slots.push({ bytes, image });
    }
  }

  return {
    waited,
    async next() {
      signal.throwIfAborted();
      fill();
      const slot = slots.shift();
      if (slot === undefined) return null;
      fill();
      await timed(waited, 'read', slot.bytes);
      return timed(waited, 'decode', slot.image);
    },
    async untilRead(count) {
      fill();
      await timed(waited, 'read', Promise.allSettled(slots.slice(0, count).map((slot) => slot.bytes)));
    },
    close() {
      stop.abort(new CairnError('internal', 'The image queue is closed'));
    },
  };
}

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
