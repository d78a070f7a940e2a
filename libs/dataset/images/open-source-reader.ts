import { CairnError, isCairnError } from '@cairn/contract';
import { untilAborted } from '@cairn/runtime';
import type { ExpectedFile, Source } from '@cairn/storage';
import type { Remote } from '../sources/create-sources.ts';
import { tarHeader } from '../tars/scan-tar.ts';
import { type ImageLocation, type ImageReader, ImageUnavailable, largestImageBytes } from './image-reader.ts';
import { headerBytes, planRanges, runLimits, type TarRange } from './plan-ranges.ts';

/** Ranges that are under way, besides that of the image being read. */
const rangesAhead = 3;

type Fetch = { range: TarRange; bytes: Promise<Buffer>; left: number; stop: AbortController };

/**
 * Reads images of a source. Images in tars are read by ranges: {@link ImageReader.plan} says which come next, and the following ranges are
 * under way while one is decoded. Each answer must be of the file that the list was made of, and each image behind a tar header of its size.
 */
export function openSourceReader({ source, path: root }: Remote, mostBytes = largestImageBytes): ImageReader {
  let ranges: TarRange[] = [];
  const numberOf = new Map<string, number>();
  const fetches = new Map<number, Fetch>();

  const pathOf = (path: string): string => (root === '' ? path : `${root}/${path}`);
  const shown = (path: string): string => `${source.url}/${pathOf(path)}`;
  const expectedOf = ({ fileBytes, fileChangedMs }: ImageLocation): ExpectedFile | undefined =>
    typeof fileBytes === 'number' && typeof fileChangedMs === 'number' ? { bytes: fileBytes, changedMs: fileChangedMs } : undefined;

  function plan(images: readonly ImageLocation[]): void {
    stopAll();
    ranges = planRanges(images);
    for (const [number, range] of ranges.entries()) for (const image of range.images) numberOf.set(keyOf(image), number);
  }

  function stopAll(): void {
    for (const { stop } of fetches.values()) stop.abort(new CairnError('internal', 'The images of this range are not needed any more'));
    fetches.clear();
    numberOf.clear();
    ranges = [];
  }

  function begin(range: TarRange): Fetch {
    const [first] = range.images;
    const stop = new AbortController();
    const expected = first && expectedOf(first);
    const bytes = source
      .readBytes(pathOf(range.tar), { start: range.start, end: range.end, expected, signal: stop.signal })
      .catch((error: unknown) => {
        if (!isCairnError(error, 'missing_file')) throw error;
        throw new CairnError('storage_failed', `The tar ${shown(range.tar)} does not exist: restore it`, { cause: error });
      });
    // It may fail before its first image is read.
    bytes.catch(() => undefined);
    return { range, bytes, left: range.images.length, stop };
  }

  /** The fetch of a range, and begins those after it. */
  function fetchOf(number: number): Fetch {
    for (let n = number; n <= Math.min(number + rangesAhead, ranges.length - 1); n += 1) {
      const range = ranges[n];
      if (range !== undefined && !fetches.has(n)) fetches.set(n, begin(range));
    }
    return fetches.get(number) as Fetch;
  }

  async function readInTar(image: ImageLocation, signal?: AbortSignal): Promise<Buffer> {
    const { offset, size, path } = image;
    if (typeof offset !== 'number' || typeof size !== 'number') throw new ImageUnavailable('missing', `${path} is not in a tar`, path);
    requireSize(size, path, mostBytes);
    const number = numberOf.get(keyOf(image));
    const [own] = number === undefined ? planRanges([image]) : [];
    const fetch = own === undefined ? fetchOf(number ?? 0) : begin(own);
    const bytes = signal === undefined ? await fetch.bytes : await untilAborted(fetch.bytes, signal);
    fetch.left -= 1;
    // Its memory is free when the last image of it is decoded.
    if (fetch.left === 0 && number !== undefined) fetches.delete(number);
    return imageOf(bytes, fetch.range, image);
  }

  function imageOf(bytes: Buffer, { tar, start }: TarRange, { path, offset, size }: ImageLocation): Buffer {
    const [at, length] = [(offset ?? 0) - start, size ?? 0];
    requireHeader(bytes.subarray(Math.max(0, at - headerBytes)), { size: length, path, tar: shown(tar), offset: at + start });
    return bytes.subarray(at, at + length);
  }

  function rangesOf(images: readonly ImageLocation[]): ReturnType<ImageReader['ranges']> {
    const readable = images.filter(({ size }) => typeof size === 'number' && size <= mostBytes);
    return planRanges(readable, runLimits).map((range) => ({
      images: range.images,
      async read(signal) {
        const fetch = begin(range);
        const bytes = await untilAborted(fetch.bytes, signal).finally(() => fetch.stop.abort());
        // Copies, so that the bytes between the images are free.
        return range.images.map((image) => Buffer.from(imageOf(bytes, range, image)));
      },
    }));
  }

  async function readFile(image: ImageLocation, signal?: AbortSignal): Promise<Buffer> {
    const { path, fileBytes } = image;
    const missing = (cause?: unknown): ImageUnavailable => new ImageUnavailable('missing', `${shown(path)} does not exist`, path, cause);
    try {
      if (fileBytes === null) throw missing();
      const expected = expectedOf(image) ?? (await source.head(pathOf(path), signal));
      if (expected === null) throw missing();
      requireSize(expected.bytes, path, mostBytes);
      return await source.readBytes(pathOf(path), { end: expected.bytes, expected, signal });
    } catch (error) {
      if (!isCairnError(error, 'missing_file') || error instanceof ImageUnavailable) throw error;
      await requireFolderOf(path, signal);
      throw missing(error);
    }
  }

  /** An emptied prefix is not a fault of its images. */
  async function requireFolderOf(path: string, signal?: AbortSignal): Promise<void> {
    if (source.list === null) return;
    const folder = pathOf(path.split('/')[0] ?? '');
    if (await hasFile(source.list, folder, signal)) return;
    throw new CairnError('storage_failed', `The image folder ${source.url}/${folder} is gone or empty: restore it`);
  }

  return {
    plan,
    ranges: rangesOf,
    async read(image, signal) {
      signal?.throwIfAborted();
      return image.tar ? readInTar(image, signal) : readFile(image, signal);
    },
    async close() {
      stopAll();
      source.close();
    },
  };
}

/** Whether there is a file below a folder: some servers list empty folders. */
async function hasFile(list: NonNullable<Source['list']>, folder: string, signal?: AbortSignal): Promise<boolean> {
  for await (const { files, folders } of list(folder, signal)) {
    if (files.length > 0) return true;
    for (const name of folders) if (await hasFile(list, `${folder}/${name}`, signal)) return true;
  }
  return false;
}

const keyOf = ({ tar, offset }: ImageLocation): string => `${tar}:${offset}`;

function requireSize(bytes: number, path: string, mostBytes: number): void {
  if (bytes === 0) throw new ImageUnavailable('empty', `${path} has no bytes`, path);
  if (bytes > mostBytes) throw new ImageUnavailable('too_large', `${path} has ${bytes} bytes; the maximum is ${mostBytes}`, path);
}

/** The bytes before an image in a tar are its header: with another one, the index is of another tar, or the bytes were damaged on the way. */
function requireHeader(block: Buffer, { size, path, tar, offset }: { size: number; path: string; tar: string; offset: number }): void {
  let found: string;
  try {
    const header = tarHeader(block.subarray(0, headerBytes));
    if (header?.kind === 'file' && header.bytes === size) return;
    found = header === null ? 'zeros' : `the header of a ${header.kind} of ${header.bytes} bytes`;
  } catch (error) {
    found = error instanceof RangeError ? `no header (${error.message})` : 'no header';
  }
  const message = `${tar} has ${found} before byte ${offset}, where ${path} of ${size} bytes was indexed: fetch the tar again`;
  throw new CairnError('corrupt_tar', message, { details: { file: tar, offset, size } });
}
