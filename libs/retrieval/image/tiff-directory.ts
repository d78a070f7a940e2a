/** The first directory of a TIFF or EXIF block: where the 12 bytes of each tag's entry lie. */
export type TiffDirectory = {
  /** The 16 bits at the place of an entry's value, whatever type it names; undefined where there is no such tag. */
  short(tag: number): number | undefined;
  /** The numbers of an entry of the types BYTE, SHORT and LONG; `[whenAbsent]` where there is no such tag, none where it is broken. */
  values(tag: number, whenAbsent: number): number[];
};

const mostValues = 16;

/** Without entries where the block is no TIFF; up to where it is cut off otherwise. */
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
