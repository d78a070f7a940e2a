import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import { createFileGate } from '../file-gate.ts';
import type { ImageSplit } from '../image-path.ts';
import { writingUnder } from '../writing-under.ts';
import type { Fetching } from './download.ts';
import { download, fetchText } from './download.ts';
import { firstField, md5FileOf, md5Of } from './index-tars.ts';

/** How many tars each split of GLDv2 has. */
export const tarsOfGldv2: Record<ImageSplit, number> = { train: 500, index: 100, test: 20 };

/** Where GLDv2 lies (cvdfoundation/google-landmark, README). */
export const gldv2Address = 'https://s3.amazonaws.com/google-landmark';

export type FetchTarsOptions = {
  /** Below it lie `SPLIT/images_NNN.tar` and `md5sum/SPLIT/md5.images_NNN.txt`; those of GLDv2 unless given. */
  from?: string;
  /** The folder that gets the same layout. */
  out: string;
  /** Numbers of the tars of each split. */
  tars: Partial<Record<ImageSplit, readonly number[]>>;
  /** Tars fetched at a time. */
  parallel: number;
  /** Tries of a tar that bring nothing new, the first included, before it is given up. */
  tries: number;
  /** Reads the tars that are there, and compares their md5, instead of passing them over. */
  verify?: boolean;
  onProgress?: (progress: FetchProgress) => void;
  signal?: AbortSignal;
  /** For tests: limits of the waits, in milliseconds. */
  limits?: Fetching['limits'];
};

/** `bytes` are those received so far by this call, over all tars. */
export type FetchProgress = { done: number; total: number; bytes: number };

export type FetchedTars = {
  fetched: string[];
  /** Those that were there. */
  present: string[];
  failed: { tar: string; code: string; message: string }[];
  bytes: number;
};

/** A split's tars: `train/images_007.tar`. */
export function tarPath(split: ImageSplit, number: number): string {
  return `${split}/images_${String(number).padStart(3, '0')}.tar`;
}

/**
 * Fetches tars, several at a time, each compared with its md5 before it gets its name: what has the name of a tar is whole. What breaks off
 * is tried again after growing pauses and goes on where it was, in this call or in a later one. A tar that cannot be had does not
 * keep the others from being fetched; it is told in `failed`.
 *
 * @throws CairnError `storage_full`, which ends all; the signal's reason.
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
    () => stop.abort(new Error('another tar ended the fetching')),
  );
  return result;
}

/** Pauses as those of object storage; a minute without a byte is a connection that is gone. */
const defaultLimits: Fetching['limits'] = { firstPauseMs: 1000, longestPauseMs: 60_000, idleMs: 60_000 };

/** Fetches one tar unless it is there. Returns whether it was. */
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
  // With the md5 in its name, a part of what has been replaced since is never continued.
  const part = `${file}.${expected}.part`;
  for (let failures = 1; ; failures += 1) {
    await download(`${from}/${tar}`, part, fetching);
    const md5 = await md5Of(part, { gate, signal: fetching.signal });
    if (md5 === expected) break;
    await rm(part);
    if (failures < fetching.tries) continue;
    throw new CairnError(
      'corrupt_tar',
      `${from}/${tar} came ${failures} times with another md5 (${md5}) than its md5 file says (${expected})`,
      {
        details: { tar, md5, expected },
      },
    );
  }
  await rename(part, file);
  return false;
}

/** The md5 from its file, which is fetched when it is not there yet. */
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
