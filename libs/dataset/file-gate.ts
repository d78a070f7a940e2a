import { constants, createReadStream } from 'node:fs';
import { type FileHandle, open, readlink, realpath, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CairnError, isDatasetUrl } from '@cairn/contract';
import { readSize } from '@cairn/runtime';
import type { SourceLimits } from '@cairn/storage';
import { createSources, type Remote } from './sources/create-sources.ts';
import { fetchFile } from './sources/fetch-file.ts';

/**
 * The only way to open the files of a collection, which is written by people with fewer permissions than this process: a link could lead to
 * the server's secrets. Only regular files are opened, and only in the folders that the operator allows.
 */
export type FileGate = {
  /**
   * Opens a file for reading. Checks the opened file, not its path before opening. A file of a source is downloaded first: only small
   * ones are opened like this.
   *
   * @throws CairnError `folder_not_allowed` if it is elsewhere; `missing_file` if it is not a regular file; the system's error
   */
  open(path: string): Promise<FileHandle>;
  /** The real path of a folder or file. Throws as `open` does. */
  realPath(path: string): Promise<string>;
  /** Whether a file is there. Throws `folder_not_allowed` as `open` does. */
  isFile(path: string): Promise<boolean>;
  /**
   * The source that an address is in, and the path there; null for a path of this machine.
   *
   * @throws CairnError `folder_not_allowed`
   */
  sourceOf(path: string): Promise<Remote | null>;
  /** Closes connections to sources. */
  close(): void;
};

/**
 * A gate to the files in `roots`, which are folders and addresses; null for a command of a user who can read the files, and may name any.
 * The addresses have the settings of their storage, such as `?endpoint=`.
 */
export async function createFileGate(places: readonly string[] | null, limits: Partial<SourceLimits> = {}): Promise<FileGate> {
  const roots = places === null ? null : places.filter((place) => !isDatasetUrl(place));
  const sources = createSources(places, limits);
  const allowed = roots === null ? null : await realPaths(roots);
  const requireAllowed = (real: string, path: string): void => {
    if (allowed !== null && !liesBelow(real, allowed)) throw notAllowed(path, allowed);
  };
  const realPath = async (path: string): Promise<string> => {
    const real = await realpath(path).catch(async (error: unknown) => {
      // Errors do not reveal whether a file elsewhere exists, whether it is named or a link leads there.
      if (allowed !== null) requireAllowed(await targetOf(resolve(path)), path);
      throw error;
    });
    requireAllowed(real, path);
    return real;
  };
  return {
    sourceOf: sources.of,
    close: sources.close,
    async realPath(path) {
      return (await sources.of(path)) === null ? realPath(path) : path;
    },
    async isFile(path) {
      const remote = await sources.of(path);
      if (remote !== null) return (await remote.source.head(remote.path)) !== null;
      const real = await realPath(path).catch((error: unknown) => {
        if (error instanceof CairnError) throw error;
        return null;
      });
      return (real !== null && (await stat(real).catch(() => null))?.isFile()) === true;
    },
    async open(path) {
      const remote = await sources.of(path);
      if (remote !== null) return fetchFile(remote, path);
      await realPath(path);
      // Opening a device can have effects, and opening a pipe blocks: neither is tried.
      if (!(await stat(path)).isFile()) throw notAFile(path);
      const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
      try {
        const [stats, real, system] = await Promise.all([file.stat(), readlink(fdPath(file)), statfs(fdPath(file))]);
        requireAllowed(real, path);
        if (!stats.isFile() || kernelFileSystems.has(system.type)) throw notAFile(path);
        return file;
      } catch (error) {
        await file.close();
        throw error;
      }
    },
  };
}

/** A path of the open file, for code that can only open paths. */
export function fdPath(file: FileHandle): string {
  return `/proc/self/fd/${file.fd}`;
}

/** File systems that expose data of the kernel or this process (linux/magic.h): proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, configfs, bpf, efivarfs. */
const kernelFileSystems = new Set([
  0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0x62656570, 0xcafe4a11, 0xde5e81e4,
]);

/** Links that are followed, as by the kernel. */
const mostLinks = 40;

/** Where a path that cannot be opened leads, through links whose targets may not exist. */
async function targetOf(path: string, followed = { links: 0 }): Promise<string> {
  if (dirname(path) === path) return path;
  const folder = await targetOf(dirname(path), followed);
  const here = join(folder, basename(path));
  const target = await readlink(here).catch(() => null);
  if (target === null || ++followed.links > mostLinks) return here;
  return targetOf(resolve(folder, target), followed);
}

/** A root that is not mounted yet keeps its place. */
async function realPaths(roots: readonly string[]): Promise<string[]> {
  return Promise.all(roots.map((root) => realpath(root).catch(() => targetOf(resolve(root)))));
}

function liesBelow(path: string, roots: readonly string[]): boolean {
  return roots.some((root) => path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`));
}

function notAFile(path: string): CairnError {
  return new CairnError('missing_file', `${path} is not a regular file: put a file there`, { details: { path } });
}

function notAllowed(path: string, allowed: readonly string[]): CairnError {
  const where = allowed.length === 0 ? 'none is allowed' : `allowed are ${allowed.join(', ')} and their subfolders`;
  return new CairnError('folder_not_allowed', `${path} is, or leads, outside the allowed dataset folders; ${where}`, {
    details: { path },
  });
}

/** The bytes of a file, one MiB at a time. Throws the signal's reason when it fires. */
export async function* fileChunks(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  signal?.throwIfAborted();
  const { size } = await stat(path);
  const stream = createReadStream(path, { highWaterMark: readSize(size), ...(signal ? { signal } : {}) });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    stream.destroy();
  }
}

/**
 * Passes the bytes of a file to `use`, up to one MiB at a time, and returns their number. The buffer is reused, to avoid garbage
 * collection: `use` must not keep it.
 */
export async function eachChunk(path: string, use: (chunk: Buffer) => void, signal?: AbortSignal): Promise<number> {
  signal?.throwIfAborted();
  const file = await open(path);
  try {
    return await eachChunkOf(file, use, signal);
  } finally {
    await file.close();
  }
}

/** {@link eachChunk} of an open file, from its start; awaits `use`. */
export async function eachChunkOf(file: FileHandle, use: (chunk: Buffer) => Promise<void> | void, signal?: AbortSignal): Promise<number> {
  const { size } = await file.stat();
  const buffer = Buffer.allocUnsafeSlow(readSize(size));
  let bytes = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes);
    signal?.throwIfAborted();
    if (bytesRead === 0) return bytes;
    bytes += bytesRead;
    await use(buffer.subarray(0, bytesRead));
  }
}
