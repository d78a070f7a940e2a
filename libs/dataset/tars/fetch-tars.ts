import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import { createFileGate } from '../file-gate.ts';
import { type ImageSplit, writingUnder } from '../folders.ts';
import type { Fetching } from './download.ts';
import { download, fetchText } from './download.ts';
import { firstField, md5FileOf, md5Of } from './index-tars.ts';

/** Number of tars of each split of GLDv2. */
export const tarsOfGldv2: Record<ImageSplit, number> = { train: 500, index: 100, test: 20 };

/** The location of GLDv2 (cvdfoundation/google-landmark, README). */
export const gldv2Address = 'https://s3.amazonaws.com/google-landmark';

export type FetchTarsOptions = {
  /** The base URL of `SPLIT/images_NNN.tar` and `md5sum/SPLIT/md5.images_NNN.txt`; GLDv2's by default. */
  from?: string;
  /** The folder that gets the same layout. */
  out: string;
  /** Numbers of the tars of each split. */
  tars: Partial<Record<ImageSplit, readonly number[]>>;
  /** Tars downloaded in parallel. */
  parallel: number;
  /** Attempts without progress, including the first, before a tar fails. */
  tries: number;
  /** Reads existing tars and compares their md5 instead of skipping them. */
  verify?: boolean;
  onProgress?: (progress: FetchProgress) => void;
  signal?: AbortSignal;
  /** For tests: limits of the waits, in milliseconds. */
  limits?: Fetching['limits'];
};

/** `bytes` is the total received by this call, over all tars. */
export type FetchProgress = { done: number; total: number; bytes: number };

export type FetchedTars = {
  fetched: string[];
  /** Tars that already existed. */
  present: string[];
  failed: { tar: string; code: string; message: string }[];
  bytes: number;
};

/** A split's tars: `train/images_007.tar`. */
function tarPath(split: ImageSplit, number: number): string {
  return `${split}/images_${String(number).padStart(3, '0')}.tar`;
}

/**
 * Downloads tars, several in parallel, and compares each with its md5 before renaming it: a file with the name of a tar is complete.
 * Interrupted downloads are retried with growing backoff and resumed, in this call or in a later one. A tar that cannot be downloaded does
 * not stop the others; it is reported in `failed`.
 *
 * @throws CairnError `storage_full`, which stops all downloads; the signal's reason.
 */
export async function fetchTars(options: FetchTarsOptions): Promise<FetchedTars> {
  const { out, tries, signal, limits = defaultLimits } = options;
  const from = (options.from ?? gldv2Address).replace(/\/+$/, '');
  const stop = new AbortController();
  const tars = Object.entries(options.tars).flatMap(([split, numbers]) => numbers.map((number) => tarPath(split as ImageSplit, number)));
  const result: FetchedTars = { fetched: [], present: [], failed: [], bytes: 0 };
  let done = 0;
  const tell = (): void => options.onProgress?.({ done, total: tars.length, bytes: result.bytes });
  const fetching: Fetching = {
    tries,
    limits,
    signal: signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]),
    onBytes: (bytes) => {
      result.bytes += bytes;
      tell();
    },
  };
  await inParallel(
    tars.values(),
    options.parallel,
    async (tar) => {
      try {
        const wasThere = await writingUnder(out, () => fetchTar(from, out, tar, fetching, options.verify === true), fetching.signal);
        (wasThere ? result.present : result.fetched).push(tar);
      } catch (error) {
        fetching.signal.throwIfAborted();
        if (!(error instanceof CairnError) || error.code === 'storage_full') throw error;
        result.failed.push({ tar, code: error.code, message: error.message });
      }
      done += 1;
      tell();
    },
    () => stop.abort(new Error('the download of another tar failed')),
  );
  return result;
}

/** The same backoff as for object storage; a connection without data for a minute is lost. */
const defaultLimits: Fetching['limits'] = { firstPauseMs: 1000, longestPauseMs: 60_000, idleMs: 60_000 };

/** Downloads one tar unless it exists. Returns whether it existed. */
async function fetchTar(from: string, out: string, tar: string, fetching: Fetching, verify: boolean): Promise<boolean> {
  const file = join(out, tar);
  const gate = await createFileGate(null);
  const isThere = await stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
  if (isThere && !verify) return true;
  await mkdir(dirname(file), { recursive: true });
  const expected = await md5ToExpect(from, out, tar, fetching);
  if (isThere) {
    if ((await md5Of(file, { gate, signal: fetching.signal })) === expected) return true;
    await rm(file);
  }
  // With the md5 in its name, a partial download is never continued after the tar was replaced.
  const part = `${file}.${expected}.part`;
  for (let failures = 1; ; failures += 1) {
    await download(`${from}/${tar}`, part, fetching);
    const md5 = await md5Of(part, { gate, signal: fetching.signal });
    if (md5 === expected) break;
    await rm(part);
    if (failures < fetching.tries) continue;
    throw new CairnError(
      'corrupt_tar',
      `${from}/${tar} was downloaded ${failures} times with the md5 ${md5} instead of ${expected} from its md5 file`,
      {
        details: { tar, md5, expected },
      },
    );
  }
  await rename(part, file);
  return false;
}

/** The md5 from its file, which is downloaded if it does not exist yet. */
async function md5ToExpect(from: string, out: string, tar: string, fetching: Fetching): Promise<string> {
  const name = md5FileOf(tar);
  const path = join(out, name);
  const known = await readFile(path, 'utf8').catch(() => '');
  const text = firstField(known) === null ? await fetchText(`${from}/${name}`, fetching) : known;
  const md5 = firstField(text);
  if (md5 === null) {
    throw new CairnError('corrupt_tar', `${from}/${name} does not begin with an md5 (32 hexadecimal digits)`, {
      details: { tar },
    });
  }
  if (text !== known) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  return md5;
}
