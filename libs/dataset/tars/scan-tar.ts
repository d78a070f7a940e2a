import { fstatSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import { imageIdPattern } from '../image-path.ts';
import { afterContent, blockBytes, type PaxRecords, paxOverrides, type TarHeader, tarHeader } from './tar-header.ts';

/** An image inside a tar: its bytes are `offset` to `offset + size` of the file. */
export type TarMember = { imageId: string; offset: number; size: number };

export type ScannedTar = {
  bytes: number;
  members: TarMember[];
  /** Files that are not images: their names do not end in `.jpg`. */
  others: number;
  /** Entries that are named as images but cannot be found by an id and a place: links, sparse files, and names that are not `ID.jpg`. */
  unindexed: number;
};

/** The event loop gets a turn at least this often. */
const turnMs = 20;
const longestName = 64 * 1024;
const zerosAtATime = 1 << 20;

/**
 * Lists the images of a tar by reading its headers alone: 512 bytes each, the content is skipped. Reads are synchronous (a
 * header takes microseconds, a promise would cost ten times that), with a turn for others every 20 ms.
 *
 * @param path for messages alone
 * @throws CairnError `corrupt_tar` naming file and offset; the signal's reason.
 */
export async function scanTar({ fd }: FileHandle, path: string, signal?: AbortSignal): Promise<ScannedTar> {
  const { size: bytes } = fstatSync(fd);
  const found: ScannedTar = { bytes, members: [], others: 0, unindexed: 0 };
  const block = Buffer.allocUnsafe(blockBytes);
  let at = 0;
  let next: PaxRecords = {};
  let turn = performance.now();
  const corrupt = (why: string, cause?: unknown): CairnError =>
    new CairnError('corrupt_tar', `${path} is corrupt at byte ${at}: ${why}; fetch it again`, {
      details: { file: path, offset: at, bytes },
      cause,
    });
  const turns = async (): Promise<void> => {
    signal?.throwIfAborted();
    if (performance.now() - turn <= turnMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    turn = performance.now();
  };
  for (;;) {
    await turns();
    if (readSync(fd, block, 0, blockBytes, at) < blockBytes) throw corrupt(`it ends without the mark of its end, ${bytes} bytes long`);
    const header = parsed(() => tarHeader(block), corrupt);
    if (header === null) break;
    const offset = at + blockBytes;
    const size = header.kind === 'file' ? (next.bytes ?? header.bytes) : header.bytes;
    if (offset + size > bytes) throw corrupt(`${shownName(next.name ?? header.name)} has ${size} bytes, but only ${bytes - offset} follow`);
    if (header.kind === 'paxHeader' || header.kind === 'longName' || header.kind === 'globalHeader') {
      if (size > longestName) throw corrupt(`a name of ${size} bytes`);
      const content = Buffer.alloc(size);
      readSync(fd, content, 0, size, offset);
      const named = header.kind === 'longName' ? { name: cut(content) } : parsed(() => paxOverrides(content), corrupt);
      if (header.kind !== 'globalHeader') next = { ...next, ...named };
      else if (Object.keys(named).length > 0) throw corrupt('a header for all files gives each of them one name or size');
    } else {
      note(found, header, next, { offset, size });
      next = {};
    }
    at = afterContent(offset, size);
  }
  // Zeros alone may follow the end: of tars that were put one behind the other, all but the first would be passed over.
  const rest = Buffer.allocUnsafe(Math.min(zerosAtATime, bytes - at));
  for (let from = at; from < bytes; ) {
    await turns();
    const read = readSync(fd, rest, 0, rest.length, from);
    if (read === 0) break;
    if (rest.subarray(0, read).some((byte) => byte !== 0))
      throw corrupt('more follows the mark of its end, as where tars are put together');
    from += read;
  }
  return found;
}

function note(found: ScannedTar, { kind, name: short }: TarHeader, next: PaxRecords, place: Omit<TarMember, 'imageId'>): void {
  const name = next.name ?? short;
  const imageId = imageIdOf(name);
  if (kind === 'folder') return;
  if (kind === 'file' && imageId !== null && next.isSparse !== true) found.members.push({ imageId, ...place });
  else if (/\.jpe?g$/i.test(name)) found.unindexed += 1;
  else found.others += kind === 'file' ? 1 : 0;
}

/** An image's name may be told; another could be a piece of any file that begins as a tar does. */
function shownName(name: string): string {
  return imageIdOf(name) !== null && /^[\w./-]{1,200}$/.test(name) ? name : 'a file';
}

function cut(content: Buffer): string {
  return content.toString('utf8').replace(/\0.*$/s, '');
}

function parsed<T>(read: () => T, corrupt: (why: string, cause: unknown) => CairnError): T {
  try {
    return read();
  } catch (error) {
    throw corrupt(error instanceof RangeError ? error.message : 'the header cannot be read', error);
  }
}

/** `a/b/c/abc....jpg` -> `abc...`; null for other files. */
function imageIdOf(name: string): string | null {
  const id = name.slice(name.lastIndexOf('/') + 1);
  return id.endsWith('.jpg') && imageIdPattern.test(id.slice(0, -4)) ? id.slice(0, -4) : null;
}
