import type { LogLines, LogMatches, LogStream } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { Prisma } from '../generated/client.ts';
import { readRows } from './columns.ts';
import { findLog } from './read-log.ts';

// Lines of a log by number. Each stored chunk knows its line feeds, so a range is found from sums over the chunks before it, and only the
// bytes of the range are read.

type LogOf = { projectId: string; attemptId: string; stream: LogStream };

/** Bytes of a page, and of a line that is returned; bytes that one search reads. */
const pageBytes = 1024 * 1024;
const lineBytes = 64 * 1024;
const searchBytes = 32 * 1024 * 1024;
/** Chunks that are read at a time. */
const batch = 16;

const lineFeed = 0x0a;

/** Line feeds of a chunk; one of an earlier version is counted now. `escape` leaves a line feed as it is. */
const feeds = Prisma.sql`coalesce(lines, length(encode(bytes, 'escape')) - length(replace(encode(bytes, 'escape'), E'\n', '')))`;

/**
 * Lines from a number on, from the one that holds a byte, or the last ones.
 *
 * @throws CairnError `not_found`
 */
export async function readLogLines(
  db: Transaction,
  { from, offset, count, ...log }: LogOf & { from?: number | undefined; offset?: number | undefined; count: number },
): Promise<LogLines> {
  const { isOver } = await findLog(db, log);
  const { total, size } = await measure(db, log);
  const first = from ?? (offset === undefined ? Math.max(1, total - count + 1) : await lineAt(db, log, offset));
  const lines: LogLines['lines'] = [];
  for await (const line of eachLine(db, log, { from: first, maxBytes: pageBytes })) {
    // The end of a page cuts its last line, unless that is all the page has.
    if (!line.isWhole && lines.length > 0) break;
    lines.push({ offset: line.offset, text: textOf(line.bytes), isCut: line.isCut });
    if (lines.length === count) break;
  }
  return { stream: log.stream, from: first, lines, total, size, isOver };
}

/** Matches are cut to this many characters, of which so many come before the match. */
const matchCharacters = 300;
const charactersBefore = 100;

/**
 * Lines that contain a text, in any case, from a line on. Reads at most 32 MiB: `next` says where to continue.
 *
 * @throws CairnError `not_found`
 */
export async function searchLog(
  db: Transaction,
  { q, from, limit, ...log }: LogOf & { q: string; from: number; limit: number },
): Promise<LogMatches> {
  await findLog(db, log);
  const wanted = q.toLowerCase();
  const matches: LogMatches['matches'] = [];
  const found = (next: number | null): LogMatches => ({ stream: log.stream, matches, next });
  let read = 0;
  for await (const block of eachBlock(db, log, from)) {
    if (read >= searchBytes && block.number > from) return found(block.number);
    read += block.bytes.length;
    // Most blocks have no match: they need not be cut into lines.
    if (!textOf(block.bytes).toLowerCase().includes(wanted)) continue;
    let { number } = block;
    for (let at = 0; at < block.bytes.length; number += 1) {
      const end = block.bytes.indexOf(lineFeed, at);
      const bytes = block.bytes.subarray(at, end < 0 ? block.bytes.length : end);
      const offset = block.offsetAt(at);
      at += bytes.length + 1;
      if (number < from || matches.at(-1)?.line === number) continue;
      const text = textOf(bytes);
      const position = text.toLowerCase().indexOf(wanted);
      if (position < 0) continue;
      if (matches.length === limit) return found(number);
      const begin = Math.max(0, position - charactersBefore);
      matches.push({ line: number, offset, text: text.slice(begin, begin + matchCharacters) });
    }
  }
  return found(null);
}

/** Whole lines, or a part of a line that is longer than a page. */
type Block = {
  /** Number and offset of the first line. */
  number: number;
  offset: number;
  bytes: Uint8Array;
  /** The offset in the log of a place in `bytes`. */
  offsetAt(at: number): number;
};

/** The log from the chunk in which a line begins, in blocks of about a chunk. */
async function* eachBlock(db: Transaction, log: LogOf, from: number): AsyncGenerator<Block, void, void> {
  let { number, offset: next } = await chunkBefore(db, log, from);
  let rest: Uint8Array = new Uint8Array();
  let begin = next;
  for (;;) {
    const chunks = await loadChunks(db, log, next);
    for (const { offset, bytes } of chunks) {
      next = offset + 1;
      if (rest.length === 0) begin = offset;
      const carried = rest.length;
      const whole = carried === 0 ? bytes : Buffer.concat([rest, bytes]);
      const last = whole.lastIndexOf(lineFeed);
      if (last < 0 && whole.length < pageBytes) {
        rest = whole;
        continue;
      }
      const block = last < 0 ? whole : whole.subarray(0, last + 1);
      const offsetAt = (at: number) => (at < carried ? begin + at : offset + at - carried);
      yield { number, offset: begin, bytes: block, offsetAt };
      number += countFeeds(block);
      rest = whole.subarray(block.length);
      if (last >= 0) begin = offsetAt(block.length);
    }
    if (chunks.length < batch) break;
  }
  if (rest.length > 0) yield { number, offset: begin, bytes: rest, offsetAt: (at) => begin + at };
}

const textOf = (bytes: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

const sizeRow = z.object({ feeds: z.coerce.number(), size: z.coerce.number(), endsLine: z.boolean() });

/** The number of lines and bytes so far. */
async function measure(db: Transaction, { attemptId, stream }: LogOf): Promise<{ total: number; size: number }> {
  const rows = await db.$queryRaw`
    with chunk as (select "offset", bytes, ${feeds} as feeds from log_chunk where attempt_id = ${attemptId} and stream = ${stream})
    select (select sum(feeds) from chunk) as feeds, "offset" + length(bytes) as size,
           length(bytes) = 0 or get_byte(bytes, length(bytes) - 1) = ${lineFeed} as "endsLine"
      from chunk order by "offset" desc limit 1`;
  const [row] = readRows(sizeRow, rows);
  return row === undefined ? { total: 0, size: 0 } : { total: row.feeds + (row.endsLine ? 0 : 1), size: row.size };
}

/** The number of the line that holds a byte. */
async function lineAt(db: Transaction, { attemptId, stream }: LogOf, offset: number): Promise<number> {
  const rows = await db.$queryRaw`
    select "offset", bytes, upto from (
      select "offset", bytes, sum(${feeds}) over (order by "offset") - ${feeds} as upto
        from log_chunk where attempt_id = ${attemptId} and stream = ${stream} and "offset" <= ${BigInt(offset)}) chunk
     order by "offset" desc limit 1`;
  const [chunk] = readRows(chunkRow.extend({ upto: z.coerce.number() }), rows);
  if (chunk === undefined) return 1;
  return 1 + chunk.upto + countFeeds(chunk.bytes.subarray(0, offset - chunk.offset));
}

function countFeeds(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(lineFeed); at >= 0; at = bytes.indexOf(lineFeed, at + 1)) count += 1;
  return count;
}

const chunkRow = z.object({ offset: z.coerce.number(), bytes: z.instanceof(Uint8Array) });

type Line = {
  number: number;
  offset: number;
  /** Without its line feed; at most {@link lineBytes}. */
  bytes: Uint8Array;
  isCut: boolean;
  /** False for the last line when `maxBytes` ended it. */
  isWhole: boolean;
};

/** The lines from a number on, until `maxBytes` are read. */
async function* eachLine(
  db: Transaction,
  log: LogOf,
  { from, maxBytes }: { from: number; maxBytes: number },
): AsyncGenerator<Line, void, void> {
  let { number, offset: next } = await chunkBefore(db, log, from);
  let parts: Uint8Array[] = [];
  let length = 0;
  let begin = next;
  let read = 0;
  const line = (isWhole: boolean): Line => {
    const whole = Buffer.concat(parts);
    return { number, offset: begin, bytes: whole, isCut: length > whole.length || !isWhole, isWhole };
  };
  for (;;) {
    const chunks = await loadChunks(db, log, next);
    for (const { offset, bytes } of chunks) {
      next = offset + 1;
      for (let at = 0; at < bytes.length; ) {
        const end = bytes.indexOf(lineFeed, at);
        const piece = bytes.subarray(at, end < 0 ? bytes.length : end);
        if (length === 0) begin = offset + at;
        if (length < lineBytes) parts.push(piece.subarray(0, lineBytes - length));
        length += piece.length;
        if (number >= from) read += piece.length;
        at += piece.length;
        if (end >= 0) {
          if (number >= from) yield line(true);
          number += 1;
          parts = [];
          length = 0;
          at += 1;
          begin = offset + at;
        }
        if (read >= maxBytes) {
          if (length > 0 || at < bytes.length) yield line(false);
          return;
        }
      }
    }
    if (chunks.length < batch) break;
  }
  if (length > 0 && number >= from) yield line(true);
}

/** The last chunk that begins before a line does, and the number of the line that its first byte belongs to. */
async function chunkBefore(db: Transaction, { attemptId, stream }: LogOf, line: number): Promise<{ number: number; offset: number }> {
  const rows = await db.$queryRaw`
    select "offset", upto from (
      select "offset", sum(${feeds}) over (order by "offset") - ${feeds} as upto from log_chunk
       where attempt_id = ${attemptId} and stream = ${stream}) chunk
     where upto < ${line - 1} order by "offset" desc limit 1`;
  const [chunk] = readRows(z.object({ offset: z.coerce.number(), upto: z.coerce.number() }), rows);
  return chunk === undefined ? { number: 1, offset: 0 } : { number: 1 + chunk.upto, offset: chunk.offset };
}

async function loadChunks(db: Transaction, { attemptId, stream }: LogOf, from: number) {
  const rows = await db.$queryRaw`
    select "offset", bytes from log_chunk
     where attempt_id = ${attemptId} and stream = ${stream} and "offset" >= ${BigInt(from)} order by "offset" limit ${batch}`;
  return readRows(chunkRow, rows);
}
