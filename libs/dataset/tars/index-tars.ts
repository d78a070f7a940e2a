import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { eachChunk } from '../file-chunks.ts';
import type { ImageSplit } from '../image-path.ts';
import type { TarMember } from './scan-tar.ts';
import { scanTar } from './scan-tar.ts';

/** What one tar holds. `tar` is its path relative to the root (`train/images_000.tar`). */
export type TarIndex = {
  tar: string;
  bytes: number;
  /** MD5 of the whole file. */
  md5: string;
  /** Whether an md5 file stood by: then the file was compared with it. */
  md5Checked: boolean;
  members: TarMember[];
  others: number;
};

const tarNamePattern = /^images_\d{3,}\.tar$/;

/**
 * The tars of a split, in order of their names, relative to `root`.
 *
 * @throws CairnError `missing_file` when there is none.
 */
export async function tarsOfSplit(root: string, split: ImageSplit): Promise<string[]> {
  const names = await readdir(join(root, split)).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  const tars = names.filter((name) => tarNamePattern.test(name)).toSorted();
  if (tars.length === 0) {
    throw new CairnError('missing_file', `${join(root, split)} holds no images_NNN.tar: put the tars of the split ${split} there`, {
      details: { folder: join(root, split), split },
    });
  }
  return tars.map((name) => `${split}/${name}`);
}

/**
 * Checks and indexes the tars of a split, one after another: the md5 of each against its md5 file, then its headers. One tar's
 * members are in memory at a time (about 8,000 of GLDv2's).
 *
 * @throws CairnError `corrupt_tar` naming the file and the offset or both md5s; `missing_file`.
 */
export async function* indexTars({
  root,
  split,
  signal,
}: {
  root: string;
  split: ImageSplit;
  signal?: AbortSignal;
}): AsyncGenerator<TarIndex> {
  for (const tar of await tarsOfSplit(root, split)) {
    const expected = await listedMd5(root, tar);
    const md5 = await md5Of(join(root, tar), signal);
    if (expected !== null && md5 !== expected) {
      throw new CairnError('corrupt_tar', `${join(root, tar)} has the md5 ${md5}, its md5 file says ${expected}: fetch it again`, {
        details: { file: join(root, tar), md5, expected },
      });
    }
    yield { tar, md5, md5Checked: expected !== null, ...(await scanTar(join(root, tar), signal)) };
  }
}

/**
 * The md5 that stands in `md5sum/SPLIT/md5.images_NNN.txt`, or beside the tar; null when there is no such file. Only the first
 * field is read: the name that follows differs between downloads.
 */
export async function listedMd5(root: string, tar: string): Promise<string | null> {
  const [split = '', name = ''] = tar.split('/');
  const md5Name = `md5.${name.replace(/\.tar$/, '.txt')}`;
  for (const path of [join(root, 'md5sum', split, md5Name), join(root, split, md5Name)]) {
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    });
    if (text === null) continue;
    const md5 = text.trim().split(/\s+/)[0]?.toLowerCase() ?? '';
    if (!/^[0-9a-f]{32}$/.test(md5)) {
      throw new CairnError('corrupt_tar', `${path} does not begin with an md5 (32 hexadecimal digits): fetch it again`, {
        details: { file: path },
      });
    }
    return md5;
  }
  return null;
}

/** MD5 of a whole file, streamed. */
export async function md5Of(path: string, signal?: AbortSignal): Promise<string> {
  const md5 = createHash('md5');
  await eachChunk(path, (chunk) => void md5.update(chunk), signal);
  return md5.digest('hex');
}
