import { CairnError } from '@cairn/contract';
import type { Parquet } from '../parquet/open-parquet.ts';

/** Ids by row. */
export type Ids = Iterable<string> & { readonly length: number; at(row: number): string | undefined };

/**
 * Distinct ids by number, in the order in which they were added. They are kept as bytes: strings of 4.9 million ids, with the maps to find them
 * by, would take over a gigabyte; this takes the ids' own bytes and up to 24 more for each.
 */
export type IdTable = {
  readonly length: number;
  /** The number of an id, which is added if it is new. */
  add(id: string): number;
  /** The number of an id, or -1. */
  find(id: string): number;
  at(number: number): string;
  bytesAt(number: number): Buffer;
  /** Orders two numbers by the bytes of their ids: by code point, as Python sorts. */
  compare(a: number, b: number): number;
};

/** A byte's position is 32 bits. */
const MAX_BYTES = 2 ** 32;

const encoder = new TextEncoder();

export function createIdTable(): IdTable {
  let bytes = Buffer.alloc(1 << 16);
  /** Where each id begins; the next one begins where it ends. */
  let starts = new Uint32Array(1 << 10);
  /** A hash table with open addressing: numbers, or -1. */
  let slots = new Int32Array(1 << 12).fill(-1);
  let length = 0;

  const start = (number: number): number => starts[number] as number;

  /** Writes the id behind the last one; returns where it ends. */
  function write(id: string): number {
    const end = start(length);
    const needed = end + id.length * 3;
    if (needed > MAX_BYTES) throw new CairnError('invalid_request', `More than ${length} ids of this length do not fit into 4 GiB`);
    if (needed > bytes.length) {
      const larger = Buffer.alloc(Math.min(MAX_BYTES, 2 * needed));
      larger.set(bytes.subarray(0, end));
      bytes = larger;
    }
    return end + encoder.encodeInto(id, bytes.subarray(end)).written;
  }

  /** The slot with an equal id, or the empty one for it. */
  function slotOf(from: number, to: number): number {
    for (let slot = hash(from, to); ; slot++) {
      const at = slot & (slots.length - 1);
      const number = slots[at] as number;
      if (number === -1 || isSame(number, from, to)) return at;
    }
  }

  /** FNV-1a, mixed once more for its low bits. */
  function hash(from: number, to: number): number {
    let value = 0x811c9dc5;
    for (let at = from; at < to; at++) value = Math.imul(value ^ (bytes[at] as number), 0x01000193);
    value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
    return (value ^ (value >>> 13)) >>> 0;
  }

  function isSame(number: number, from: number, to: number): boolean {
    const other = start(number);
    if (start(number + 1) - other !== to - from) return false;
    for (let at = 0; at < to - from; at++) if (bytes[other + at] !== bytes[from + at]) return false;
    return true;
  }

  function grow(): void {
    if (length + 2 > starts.length) {
      const larger = new Uint32Array(2 * starts.length);
      larger.set(starts);
      starts = larger;
    }
    if (2 * length < slots.length) return;
    slots = new Int32Array(2 * slots.length).fill(-1);
    for (let number = 0; number < length; number++) slots[slotOf(start(number), start(number + 1))] = number;
  }

  return {
    get length() {
      return length;
    },
    add(id) {
      grow();
      const end = write(id);
      const slot = slotOf(start(length), end);
      const known = slots[slot] as number;
      if (known !== -1) return known;
      slots[slot] = length;
      starts[length + 1] = end;
      return length++;
    },
    find: (id) => slots[slotOf(start(length), write(id))] as number,
    at: (number) => bytes.toString('utf8', start(number), start(number + 1)),
    bytesAt: (number) => bytes.subarray(start(number), start(number + 1)),
    compare(a, b) {
      const [atA, atB] = [start(a), start(b)];
      const [lengthA, lengthB] = [start(a + 1) - atA, start(b + 1) - atB];
      const shared = Math.min(lengthA, lengthB);
      for (let at = 0; at < shared; at++) {
        const difference = (bytes[atA + at] as number) - (bytes[atB + at] as number);
        if (difference !== 0) return difference;
      }
      return lengthA - lengthB;
    },
  };
}

/** Ids of a table by row: of the rows of a feature set, or of places in an order. */
export type TableIds = Ids & { readonly table: IdTable /** The number of each row's id. */; readonly numbers: Int32Array };

export function tableIds(table: IdTable, numbers: Int32Array): TableIds {
  const at = (row: number): string | undefined => (numbers[row] === undefined ? undefined : table.at(numbers[row]));
  return {
    table,
    numbers,
    length: numbers.length,
    at,
    *[Symbol.iterator]() {
      for (const number of numbers) yield table.at(number);
    },
  };
}

/** Ids that are given as strings: each of them once in the table. */
export function idsOf(ids: Iterable<string>): TableIds {
  const table = createIdTable();
  return tableIds(
    table,
    Int32Array.from(ids, (id) => table.add(id)),
  );
}

/** An order of ids: the id of each place, and of each number of the table its place, or -1. */
export type IdOrder = TableIds & { readonly placeOf: Int32Array };

export function orderIds(table: IdTable, numbers: Int32Array): IdOrder {
  const placeOf = new Int32Array(table.length).fill(-1);
  for (const [place, number] of numbers.entries()) placeOf[number] = place;
  return Object.assign(tableIds(table, numbers), { placeOf });
}

/** All ids of a table, sorted. */
export function sortIds(table: IdTable): IdOrder {
  return orderIds(table, Int32Array.from({ length: table.length }, (_, number) => number).sort(table.compare));
}

/** The ids of a list, row by row, with duplicates. Works for any Parquet file with a column `image_id`. */
export async function readImageIds(parquet: Parquet, path: string, signal?: AbortSignal): Promise<string[]> {
  const sql = 'select image_id from read_parquet($path, file_row_number = true) order by file_row_number';
  return (await parquet.query({ path, sql }, signal)).text('image_id');
}
