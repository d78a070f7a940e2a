import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { type ReportItem, reportItem } from '@cairn/contract';

export type ReportQueueOptions = {
  /** The file for items that do not fit into memory. */
  journalFile: string;
  memoryBytes?: number;
  diskBytes?: number;
};

/** Room above `diskBytes` for items that must not be lost: checkpoints, evaluations, notes. */
const reserveBytes = 8 * 1024 * 1024;
const readBytes = 1024 * 1024;

type Entry = { item: ReportItem; bytes: number };

/**
 * Report items in order, the oldest in memory, the newer ones in a file once memory is full: while the control plane is away
 * for days the process neither grows nor loses items. Both are bounded.
 */
export function reportQueue({ journalFile, memoryBytes = 2 * 1024 * 1024, diskBytes = 64 * 1024 * 1024 }: ReportQueueOptions) {
  const head: Entry[] = [];
  let headBytes = 0;
  let journal: number | undefined;
  let written = 0;
  let read = 0;

  /** Appends to the file. False when it or the disk is full. */
  function spill(item: ReportItem, isVital: boolean): boolean {
    const line = Buffer.from(`${JSON.stringify(item)}\n`);
    if (written + line.length > diskBytes + (isVital ? reserveBytes : 0)) return false;
    try {
      journal ??= openSync(journalFile, 'w+');
      // Where a full disk cut a line short, the next line overwrites it.
      if (writeSync(journal, line, 0, line.length, written) < line.length) return false;
    } catch (error) {
      if (isDiskFull(error)) return false;
      throw error;
    }
    written += line.length;
    return true;
  }

  function keepInMemory(item: ReportItem): void {
    const bytes = Buffer.byteLength(JSON.stringify(item));
    head.push({ item, bytes });
    headBytes += bytes;
  }

  /** Moves the oldest items of the file into memory; an emptied file starts over. */
  function refill(): void {
    if (journal === undefined || read === written || head.length > 0) return;
    let buffer = Buffer.alloc(Math.min(readBytes, written - read));
    readSync(journal, buffer, 0, buffer.length, read);
    let end = buffer.lastIndexOf('\n') + 1;
    if (end === 0) {
      // One line longer than a usual read.
      buffer = Buffer.alloc(written - read);
      readSync(journal, buffer, 0, buffer.length, read);
      end = buffer.indexOf('\n') + 1;
    }
    for (const line of buffer.toString('utf8', 0, end - 1).split('\n')) keepInMemory(reportItem.parse(JSON.parse(line)));
    read += end;
    if (read === written) {
      ftruncateSync(journal);
      read = 0;
      written = 0;
    }
  }

  return {
    isEmpty: () => head.length === 0 && read === written,
    /** Appends an item. False when there is no room: it is not queued. Vital items have extra room. */
    push(item: ReportItem, { isVital }: { isVital: boolean }): boolean {
      if (read === written && headBytes < memoryBytes) {
        keepInMemory(item);
        return true;
      }
      return spill(item, isVital);
    },
    /** The oldest items, at most this many and this many bytes of JSON together, yet at least one if there is one. */
    take(maxItems: number, maxBytes: number): ReportItem[] {
      const taken: ReportItem[] = [];
      for (let bytes = 0; taken.length < maxItems; ) {
        refill();
        const entry = head[0];
        if (entry === undefined || (taken.length > 0 && bytes + entry.bytes > maxBytes)) break;
        head.shift();
        headBytes -= entry.bytes;
        bytes += entry.bytes;
        taken.push(entry.item);
      }
      return taken;
    },
    close(): void {
      if (journal !== undefined) closeSync(journal);
      journal = undefined;
    },
  };
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}
