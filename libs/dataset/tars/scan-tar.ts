import { fstatSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import { imageIdPattern } from '../folders.ts';

/** An image inside a tar: its bytes are `offset` to `offset + size` of the file. */
export type TarMember = { imageId: string; offset: number; size: number };

export type ScannedTar = {
  bytes: number;
  members: TarMember[];
  /** Files that are not images: their names do not end in `.jpg`. */
  others: number;
  /** Entries with names of images that cannot be indexed: links, sparse files, and names that are not `ID.jpg`. */
  unindexed: number;
};

/** Maximum time between yields to the event loop. */
const turnMs = 20;
const longestName = 64 * 1024;
const zerosAtATime = 1 << 20;

/**
 * Lists the images of a tar by reading only its headers, 512 bytes each. Reads are synchronous (a header takes microseconds, a promise ten
 * times that), yielding to the event loop every 20 ms.
 *
 * @param path only for messages
 * @throws CairnError `corrupt_tar` naming file and offset; the signal's reason.
 */
export async function scanTar({ fd }: FileHandle, path: string, signal?: AbortSignal): Promise<ScannedTar> {
  const { size: bytes } = fstatSync(fd);
  const scan = tarScan(path, bytes);
  let turn = performance.now();
  let step = scan.next();
  while (!step.done) {
    signal?.throwIfAborted();
    if (performance.now() - turn > turnMs) {
      await new Promise((resolve) => setImmediate(resolve));
      turn = performance.now();
    }
    const { at, length } = step.value;
    const wanted = Buffer.allocUnsafe(length);
    step = scan.next(wanted.subarray(0, readSync(fd, wanted, 0, length, at)));
  }
  return step.value;
}

/** The bytes that a scan needs next; they are never before those of an earlier one. */
type WantedBytes = { at: number; length: number };

/** {@link scanTar} without reading: receives the bytes that it asks for, fewer at the end of the file. */
export function* tarScan(path: string, bytes: number): Generator<WantedBytes, ScannedTar, Buffer> {
  const found: ScannedTar = { bytes, members: [], others: 0, unindexed: 0 };
  let at = 0;
  let next: PaxRecords = {};
  const corrupt = (why: string, cause?: unknown): CairnError =>
    new CairnError('corrupt_tar', `${path} is corrupt at byte ${at}: ${why}; download it again`, {
      details: { file: path, offset: at, bytes },
      cause,
    });
  for (;;) {
    const block = yield { at, length: blockBytes };
    if (at === 0 && block.length < blockBytes) refuseCompressed(block, path);
    if (block.length < blockBytes) throw corrupt(`it has no end marker, ${bytes} bytes long`);
    const header = parsed(
      () => tarHeader(block),
      (why, cause) => {
        if (at === 0) refuseCompressed(block, path);
        return corrupt(why, cause);
      },
    );
    if (header === null) break;
    let offset = at + blockBytes;
    for (let isMore = header.hasMore; isMore; offset += blockBytes) {
      const more = yield { at: offset, length: blockBytes };
      if (more.length < blockBytes) throw corrupt('it ends within the list of the pieces of a sparse file');
      isMore = more[moreAt.list] !== 0;
    }
    const size = header.kind === 'file' ? (next.bytes ?? header.bytes) : header.bytes;
    if (offset + size > bytes) throw corrupt(`${shownName(next.name ?? header.name)} has ${size} bytes, but only ${bytes - offset} follow`);
    if (header.kind === 'paxHeader' || header.kind === 'longName' || header.kind === 'globalHeader') {
      if (size > longestName) throw corrupt(`a name of ${size} bytes`);
      const content = yield { at: offset, length: size };
      const named = header.kind === 'longName' ? { name: cut(content) } : parsed(() => paxOverrides(content), corrupt);
      if (header.kind !== 'globalHeader') next = { ...next, ...named };
      else if (Object.keys(named).length > 0) throw corrupt('a global header sets the name or size of all files');
    } else if (header.kind !== 'longLink') {
      note(found, header, next, { offset, size });
      next = {};
    }
    at = afterContent(offset, size);
  }
  // Only zeros may follow the end: of concatenated tars all but the first would be ignored. The first block of them has been read.
  for (let from = at + blockBytes; from < bytes; from += zerosAtATime) {
    const rest = yield { at: from, length: Math.min(zerosAtATime, bytes - from) };
    if (rest.some((byte) => byte !== 0)) throw corrupt('there is data after the end marker, as in concatenated tars');
  }
  return found;
}

function note(found: ScannedTar, { kind, name: short }: TarHeader, next: PaxRecords, place: Omit<TarMember, 'imageId'>): void {
  const name = next.name ?? short;
  const imageId = imageIdOf(name);
  if (kind === 'folder') return;
  if (kind === 'file' && imageId !== null && next.isSparse !== true) found.members.push({ imageId, ...place });
  else if (/\.jpe?g$/i.test(name)) found.unindexed += 1;
  else found.others += kind === 'file' || kind === 'sparse' ? 1 : 0;
}

/** How the formats begin that tars are often compressed with. */
const compressions = {
  gzip: [0x1f, 0x8b],
  bzip2: [0x42, 0x5a, 0x68],
  xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
  zip: [0x50, 0x4b, 0x03, 0x04],
};

/** The format that a file is compressed with, by its first bytes; null for none of the usual ones. */
export function compressionOf(start: Uint8Array): string | null {
  return Object.entries(compressions).find(([, bytes]) => bytes.every((byte, place) => start[place] === byte))?.[0] ?? null;
}

function refuseCompressed(start: Buffer, path: string): void {
  const format = compressionOf(start);
  if (format === null) return;
  throw new CairnError('corrupt_tar', `${path} is not a tar but a file of ${format}: images are read from tars in place`, {
    details: { file: path, offset: 0, remedy: 'Unpack it, and register the tar that is in it.' },
  });
}

/** Only image names are shown; other names could be part of any file that begins like a tar. */
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

/** The parts of a tar header that are needed for reading images. */
type TarHeader = {
  name: string;
  /** Bytes of content that follow, before padding. */
  bytes: number;
  kind: 'file' | 'paxHeader' | 'globalHeader' | 'longName' | 'longLink' | 'folder' | 'sparse' | 'other';
  /** Of a sparse file of GNU's old format: whether its pieces are listed on in a further block, before the content. */
  hasMore: boolean;
};

/** Where a header and a further block say whether another list of pieces follows (GNU tar, tar.h: isextended). */
const moreAt = { header: 482, list: 504 };

export const blockBytes = 512;

const checksumAt = 148;
const checksumLength = 8;

/**
 * Reads a 512-byte header block (POSIX ustar, GNU). Null for a block of zeros, which marks the archive's end.
 *
 * @throws RangeError naming the invalid field.
 */
export function tarHeader(block: Buffer): TarHeader | null {
  let sum = 0;
  let isZero = true;
  for (let i = 0; i < blockBytes; i++) {
    const byte = block[i] ?? 0;
    if (byte !== 0) isZero = false;
    sum += i >= checksumAt && i < checksumAt + checksumLength ? 0x20 : byte;
  }
  if (isZero) return null;
  if (octal(block, checksumAt, checksumLength) !== sum) throw new RangeError('the checksum of the header is wrong');
  const bytes = size(block);
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError('the size in the header is not a number');
  const prefix = block.toString('latin1', 257, 262) === 'ustar' && block[263] === 0x30 ? cString(block, 345, 155) : '';
  const name = cString(block, 0, 100);
  const kind = kindOf(block[156] ?? 0);
  const hasMore = kind === 'sparse' && block[moreAt.header] !== 0;
  return { name: prefix === '' ? name : `${prefix}/${name}`, bytes, kind, hasMore };
}

function kindOf(flag: number): TarHeader['kind'] {
  switch (String.fromCharCode(flag)) {
    case '\0':
    case '0':
    case '7':
      return 'file';
    case 'x':
      return 'paxHeader';
    case 'g':
      return 'globalHeader';
    case 'L':
      return 'longName';
    case 'K':
      return 'longLink';
    case 'S':
      return 'sparse';
    case '5':
      return 'folder';
    default:
      return 'other';
  }
}

/** Sizes over 8 GiB are stored in base 256, marked by the highest bit (GNU); the next bit is the sign. */
function size(block: Buffer): number {
  const at = 124;
  const first = block[at] ?? 0;
  if ((first & 0x80) === 0) return octal(block, at, 12);
  if ((first & 0x40) !== 0) return Number.NaN;
  let value = first & 0x3f;
  for (let i = at + 1; i < at + 12; i++) value = value * 256 + (block[i] ?? 0);
  return value;
}

function octal(block: Buffer, at: number, length: number): number {
  const digits = cString(block, at, length).trim();
  if (digits === '') return 0;
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

function cString(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('utf8', at, end === -1 || end > at + length ? at + length : end);
}

/** The offset of the next header after content of `bytes` bytes at `offset`: content is padded to whole blocks. */
function afterContent(offset: number, bytes: number): number {
  return offset + Math.ceil(bytes / blockBytes) * blockBytes;
}

/** The overrides of a pax header for the following file. */
type PaxRecords = { name?: string; bytes?: number; isSparse?: boolean };

/**
 * The records `path` and `size` of a pax header, which override the fields of the following header, and whether the file is sparse.
 *
 * @throws RangeError naming the invalid record.
 */
function paxOverrides(content: Buffer): PaxRecords {
  const overrides: PaxRecords = {};
  let at = 0;
  while (at < content.length) {
    const space = content.indexOf(0x20, at);
    const digits = content.toString('latin1', at, space === -1 ? at : space);
    const length = wholeNumber(digits);
    if (length === null || length <= 0 || at + length > content.length) throw new RangeError('a pax record has no length');
    const record = content.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === 'path') overrides.name = value;
    if (key.startsWith('GNU.sparse.')) overrides.isSparse = true;
    if (key === 'size') {
      const bytes = wholeNumber(value);
      if (bytes === null) throw new RangeError('the size in a pax record is not a number of bytes');
      overrides.bytes = bytes;
    }
    at += length;
  }
  return overrides;
}

/** A number of only digits that is exact as a double; null for anything else, such as a negative number. */
function wholeNumber(digits: string): number | null {
  const value = /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
  return Number.isSafeInteger(value) ? value : null;
}
