import { createHash } from 'node:crypto';
import { type FileHandle, readdir } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { CairnError, isCairnError } from '@cairn/contract';
import { createFileGate, eachChunkOf, type FileGate } from '../file-gate.ts';
import { below, type ImageSplit, imageSplits, requireFolder } from '../folders.ts';
import type { Remote } from '../sources/create-sources.ts';
import { scanRemoteTar } from './scan-remote-tar.ts';
import type { ScannedTar } from './scan-tar.ts';
import { scanTar } from './scan-tar.ts';

/** The content of one tar. `tar` is its path relative to the root (`train/images_000.tar`). */
export type TarIndex = ScannedTar & {
  tar: string;
  /** Modification time in milliseconds. */
  changedAtMs: number;
  /** MD5 of the whole file; null if it was not requested. */
  md5: string | null;
  /** Whether the tar was compared with an md5 file. */
  md5Checked: boolean;
  /** Of a tar in object storage. */
  etag?: string | null;
};

const tarNamePattern = /^images_\d{3,}\.tar$/;

/**
 * The tars of a split, in order of their names, relative to `root`.
 *
 * @throws CairnError `missing_file` if there are none.
 */
export async function tarsOfSplit(root: string, split: ImageSplit, gate?: FileGate): Promise<string[]> {
  const folder = below(root, split);
  const remote = await gate?.sourceOf(folder);
  const tars = remote ? await remoteTarNames(remote) : await tarNames(folder, gate);
  if (tars.length === 0) {
    throw new CairnError('missing_file', `${folder} has no images_NNN.tar: put the tars of the split ${split} there`, {
      details: { folder, split },
    });
  }
  return tars.map((name) => `${split}/${name}`);
}

/**
 * The splits that have tars in `root`, a folder or an address.
 *
 * @param places for an address how its storage is reached
 * @throws CairnError `missing_file` if there are none.
 */
export async function splitsWithTars(root: string, places: readonly string[] | null = null): Promise<ImageSplit[]> {
  const gate = await createFileGate(places);
  try {
    return await splitsOfSource({ kind: 'tars', root }, gate);
  } finally {
    gate.close();
  }
}

/** The splits that a source has. */
export async function splitsOfSource({ kind, root }: { kind: 'folder' | 'tars'; root: string }, gate: FileGate): Promise<ImageSplit[]> {
  const found: ImageSplit[] = [];
  for (const split of imageSplits) {
    const missing = (error: unknown): boolean => {
      if (isCairnError(error, 'missing_file')) return false;
      throw error;
    };
    const folder = below(root, split);
    const search = kind === 'tars' ? tarsOfSplit(root, split, gate) : requireFolder('The split', folder, gate);
    if (await search.then(() => true, missing)) found.push(split);
  }
  if (found.length > 0) return found;
  const folders = imageSplits.map((split) => `${split}/`).join(', ');
  const what = kind === 'tars' ? 'tars: put images_NNN.tar into its folders' : 'images: put them as a/b/c/ID.jpg into its folders';
  const how = kind === 'tars' ? ', as `cairn tars fetch` does' : '';
  throw new CairnError('missing_file', `${root} has no ${what} ${folders}${how}`, { details: { folder: root } });
}

async function tarNames(folder: string, gate?: FileGate): Promise<string[]> {
  const listed = gate === undefined ? readdir(folder) : gate.realPath(folder).then((real) => readdir(real));
  const names = await listed.catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => tarNamePattern.test(name)).toSorted();
}

/** HEAD requests at once. */
const headsAtATime = 16;

/** A server that cannot list is asked for each tar: they are numbered from 000 without gaps. */
async function remoteTarNames({ source, path }: Remote): Promise<string[]> {
  const names: string[] = [];
  if (source.list !== null) {
    for await (const { files } of source.list(path)) names.push(...files.map((file) => basename(file.path)));
    return names.filter((name) => tarNamePattern.test(name)).toSorted();
  }
  for (let first = 0; ; first += headsAtATime) {
    const numbers = Array.from({ length: headsAtATime }, (_, n) => `images_${String(first + n).padStart(3, '0')}.tar`);
    const found = await Promise.all(numbers.map((name) => source.head(`${path}/${name}`)));
    const gap = found.indexOf(null);
    names.push(...numbers.slice(0, gap === -1 ? undefined : gap));
    if (gap !== -1) return names;
  }
}

/**
 * Indexes a tar: compares it with its md5 file, then reads its headers. Without the md5, which needs all bytes, only the headers are read.
 *
 * @throws CairnError `corrupt_tar` naming the file and the offset or both md5s.
 */
export async function indexTar(root: string, tar: string, options: IndexTarOptions): Promise<TarIndex> {
  const { withMd5, gate, signal } = options;
  const path = below(root, tar);
  const expected = withMd5 ? await listedMd5(root, tar, gate) : null;
  const requireMd5 = (md5: string | null): void => {
    if (expected === null || md5 === expected) return;
    throw new CairnError('corrupt_tar', `${path} has the md5 ${md5} instead of ${expected} from its md5 file: download it again`, {
      details: { file: path, md5, expected },
    });
  };
  const remote = await gate.sourceOf(path);
  if (remote !== null) {
    const scanned = await scanRemoteTar(remote, path, signal);
    requireMd5(scanned.md5);
    return { tar, md5Checked: expected !== null, ...scanned };
  }
  const file = await gate.open(path);
  try {
    const before = await file.stat();
    const md5 = withMd5 ? await md5OfOpen(file, signal) : null;
    requireMd5(md5);
    const scanned = await scanTar(file, path, signal);
    const after = await file.stat();
    if (after.size !== before.size || after.mtimeMs !== before.mtimeMs)
      throw new CairnError('dataset_changed', `${path} was modified while it was being read`, { details: { file: path } });
    return { tar, md5, md5Checked: expected !== null, changedAtMs: before.mtimeMs, ...scanned };
  } finally {
    await file.close();
  }
}

export type IndexTarOptions = { withMd5: boolean; gate: FileGate; signal?: AbortSignal | undefined };

/** An md5 file has one line. */
const mostMd5Bytes = 4096;

/**
 * The md5 from `md5sum/SPLIT/md5.images_NNN.txt`, or from a file next to the tar; null if there is none. Only the first field is read: the
 * name that follows differs between downloads.
 */
export async function listedMd5(root: string, tar: string, gate: FileGate): Promise<string | null> {
  const file = md5FileOf(tar);
  for (const path of [below(root, file), below(root, dirname(tar), basename(file))]) {
    const text = await startOf(path, gate);
    if (text === null) continue;
    const md5 = firstField(text);
    if (md5 === null) {
      throw new CairnError('corrupt_tar', `${path} does not begin with an md5 (32 hexadecimal digits): download it again`, {
        details: { file: path },
      });
    }
    return md5;
  }
  return null;
}

/** The start of a small file, or null if it does not exist. */
async function startOf(path: string, gate: FileGate): Promise<string | null> {
  const file = await gate.open(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return null;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(mostMd5Bytes), 0, mostMd5Bytes, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** The md5 at the beginning of an md5 file, in lower case; null if there is none. */
export function firstField(text: string): string | null {
  const md5 = text.trim().split(/\s+/)[0]?.toLowerCase() ?? '';
  return /^[0-9a-f]{32}$/.test(md5) ? md5 : null;
}

/** The path of the md5 file of `split/images_NNN.tar`, relative to the root. */
export function md5FileOf(tar: string): string {
  const [split = '', name = ''] = tar.split('/');
  return `md5sum/${split}/md5.${name.replace(/\.tar$/, '.txt')}`;
}

/** MD5 of a whole file, streamed. */
export async function md5Of(path: string, { gate, signal }: { gate: FileGate; signal?: AbortSignal | undefined }): Promise<string> {
  const file = await gate.open(path);
  try {
    return await md5OfOpen(file, signal);
  } finally {
    await file.close();
  }
}

async function md5OfOpen(file: FileHandle, signal?: AbortSignal): Promise<string> {
  const md5 = createHash('md5');
  await eachChunkOf(file, (chunk) => void md5.update(chunk), signal);
  return md5.digest('hex');
}
