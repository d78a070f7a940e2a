/** The first directory of a TIFF or EXIF block: the offset of each tag's 12-byte entry. */
export type TiffDirectory = {
  /** The 16 bits at the position of an entry's value, whatever its type; undefined if there is no such tag. */
  short(tag: number): number | undefined;
  /** The values of an entry of type BYTE, SHORT or LONG; `[whenAbsent]` if there is no such tag, empty if it is invalid. */
  values(tag: number, whenAbsent: number): number[];
};

const mostValues = 16;

/** Empty if the block is not a TIFF; a truncated block gives the entries before its end. */
export function readTiffDirectory(block: Uint8Array): TiffDirectory {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const little = view.byteLength >= 2 && view.getUint16(0) === 0x4949;
  const entries = new Map<number, number>();
  if (isTiff(view)) {
    const start = view.getUint32(4, little);
    const count = start + 2 <= view.byteLength ? view.getUint16(start, little) : 0;
    for (let entry = 0, at = start + 2; entry < count && at + 12 <= view.byteLength; entry += 1, at += 12) {
      const tag = view.getUint16(at, little);
      if (!entries.has(tag)) entries.set(tag, at);
    }
  }
  return {
    short(tag) {
      const at = entries.get(tag);
      return at === undefined ? undefined : view.getUint16(at + 8, little);
    },
    values(tag, whenAbsent) {
      const at = entries.get(tag);
      if (at === undefined) return [whenAbsent];
      const type = view.getUint16(at + 2, little);
      const count = view.getUint32(at + 4, little);
      const size = { 1: 1, 3: 2, 4: 4 }[type] ?? 0;
      if (size === 0 || count > mostValues) return [];
      const place = count * size <= 4 ? at + 8 : view.getUint32(at + 8, little);
      if (place + count * size > view.byteLength) return [];
      const read = (n: number): number => {
        const offset = place + n * size;
        return size === 1 ? view.getUint8(offset) : size === 2 ? view.getUint16(offset, little) : view.getUint32(offset, little);
      };
      return Array.from({ length: count }, (_, n) => read(n));
    },
  };
}

function isTiff(view: DataView): boolean {
  if (view.byteLength < 8) return false;
  const mark = view.getUint32(0);
  return mark === 0x49492a00 || mark === 0x4d4d002a;
}
