/** A header block of a tar file, as far as reading images needs it. */
export type TarHeader = {
  name: string;
  /** Bytes of content that follow, before padding. */
  bytes: number;
  kind: 'file' | 'paxHeader' | 'globalHeader' | 'longName' | 'folder' | 'other';
};

export const blockBytes = 512;

const checksumAt = 148;
const checksumLength = 8;

/**
 * Reads a 512-byte header block (POSIX ustar, GNU). Null for a block of zeros, which marks the archive's end.
 *
 * @throws RangeError that says which field is wrong.
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
  if (octal(block, checksumAt, checksumLength) !== sum) throw new RangeError('the checksum of the header does not fit');
  const bytes = size(block);
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError('the size in the header is not a number');
  const prefix = block.toString('latin1', 257, 262) === 'ustar' && block[263] === 0x30 ? cString(block, 345, 155) : '';
  const name = cString(block, 0, 100);
  return { name: prefix === '' ? name : `${prefix}/${name}`, bytes, kind: kindOf(block[156] ?? 0) };
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
    case '5':
      return 'folder';
    default:
      return 'other';
  }
}

/** Sizes over 8 GiB are stored in base 256, marked by the highest bit (GNU); the next one is the sign. */
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

/** Where the next header stands after content of `bytes` bytes that starts at `offset`: content is padded to whole blocks. */
export function afterContent(offset: number, bytes: number): number {
  return offset + Math.ceil(bytes / blockBytes) * blockBytes;
}

/** What a pax header says of the file that follows. */
export type PaxRecords = { name?: string; bytes?: number; isSparse?: boolean };

/**
 * The records `path` and `size` of a pax header, which override the fields of the header that follows, and whether the file is stored
 * without its holes.
 *
 * @throws RangeError that says which record is wrong.
 */
export function paxOverrides(content: Buffer): PaxRecords {
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

/** A number of digits alone that is exact as a double; null for anything else, such as a negative one. */
function wholeNumber(digits: string): number | null {
  const value = /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
  return Number.isSafeInteger(value) ? value : null;
}
