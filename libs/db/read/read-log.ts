import { attemptState, CairnError, isLiveAttempt, type LogPage, type LogStream } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { readColumn, readRows } from './columns.ts';

export type LogArgs = {
  projectId: string;
  attemptId: string;
  stream: LogStream;
  /** Byte offset in the stream. */
  offset: number;
  /** Instead of `offset`: begin at the first line that begins within this many bytes before the end. */
  tail?: number | undefined;
  /** Most bytes of the page; at least one whole character is returned. */
  limit: number;
};

export type LogSlice = LogPage & { stepId: string; runId: string };

const chunkRow = z.object({ offset: z.bigint().transform(Number), bytes: z.instanceof(Uint8Array) });
type Chunk = z.infer<typeof chunkRow>;

/** In UTF-8. */
const longestCharacterBytes = 4;

/**
 * A page of one stream of an attempt's log, in whole characters. Where bytes were lost (the agent's disk was full while it could not
 * report), the page begins later than requested, at its `offset`.
 *
 * @throws CairnError `not_found`
 */
export async function readLog(db: Transaction, args: LogArgs): Promise<LogSlice> {
  const { isOver, stepId, runId } = await findLog(db, args);
  const size = await logSize(db, args);
  const offset = args.tail === undefined ? args.offset : await lineStart(db, args, Math.max(0, size - args.tail));
  let page = cutPage(await loadChunks(db, { ...args, offset }), offset, args.limit);
  if (page.bytes.length === 0 && !page.isCut) {
    const next = await nextChunkOffset(db, { ...args, offset });
    if (next !== null) page = cutPage(await loadChunks(db, { ...args, offset: next }), next, args.limit);
  }
  const nextOffset = page.offset + page.bytes.length;
  return {
    stepId,
    runId,
    stream: args.stream,
    offset: page.offset,
    nextOffset,
    text: new TextDecoder('utf-8', { ignoreBOM: true }).decode(page.bytes),
    end: isOver && !page.isCut && (await nextChunkOffset(db, { ...args, offset: nextOffset })) === null,
    size,
  };
}

/**
 * The attempt of a log, and whether it has ended. Read before the log: once it has ended, every chunk is stored.
 *
 * @throws CairnError `not_found`
 */
export async function findLog(db: Transaction, { projectId, attemptId }: Pick<LogArgs, 'projectId' | 'attemptId'>) {
  const attempt = await db.attempt.findFirst({
    where: { id: attemptId, step: { run: { projectId } } },
    select: { state: true, stepId: true, runId: true },
  });
  if (attempt === null) throw new CairnError('not_found', `Attempt ${attemptId} not found`);
  const { stepId, runId, state } = attempt;
  return { isOver: !isLiveAttempt(readColumn(attemptState, state, `attempt ${attemptId} state`)), stepId, runId };
}

type Stream = Pick<LogArgs, 'attemptId' | 'stream'>;

/** The end of a stream so far, in bytes. */
async function logSize(db: Transaction, { attemptId, stream }: Stream): Promise<number> {
  const rows = await db.$queryRaw`
    select "offset" + length(bytes) as size from log_chunk
     where attempt_id = ${attemptId} and stream = ${stream} order by "offset" desc limit 1`;
  return readRows(z.object({ size: z.bigint().transform(Number) }), rows)[0]?.size ?? 0;
}

/** The beginning of the first line that begins at or after an offset; the offset itself if none begins within the longest page. */
async function lineStart(db: Transaction, args: Stream, offset: number): Promise<number> {
  if (offset === 0) return 0;
  // The byte before the offset says whether a line begins there.
  const { offset: from, bytes } = cutPage(
    await loadChunks(db, { ...args, offset: offset - 1, limit: longestPage }),
    offset - 1,
    longestPage,
  );
  const at = bytes.indexOf(0x0a);
  return at < 0 ? offset : from + at + 1;
}

/** In bytes. */
const longestPage = 1024 * 1024;

/** The chunk that contains the offset, and the later ones that begin within the page: offsets bound their bytes. */
async function loadChunks(
  db: Transaction,
  { attemptId, stream, offset, limit }: Pick<LogArgs, 'attemptId' | 'stream' | 'offset' | 'limit'>,
) {
  // A character that the limit splits may continue in the next chunk.
  const end = offset + limit + longestCharacterBytes;
  const rows = await db.$queryRaw`
    select "offset", bytes from log_chunk
     where attempt_id = ${attemptId} and stream = ${stream} and "offset" < ${BigInt(end)}
       and "offset" >= coalesce((
         select max("offset") from log_chunk where attempt_id = ${attemptId} and stream = ${stream} and "offset" <= ${BigInt(offset)}
       ), 0)
     order by "offset"`;
  return readRows(chunkRow, rows);
}

async function nextChunkOffset(db: Transaction, args: Pick<LogArgs, 'attemptId' | 'stream' | 'offset'>): Promise<number | null> {
  const chunk = await db.logChunk.findFirst({
    where: { attemptId: args.attemptId, stream: args.stream, offset: { gte: BigInt(args.offset) } },
    orderBy: { offset: 'asc' },
    select: { offset: true },
  });
  return chunk === null ? null : Number(chunk.offset);
}

/**
 * The contiguous bytes of the chunks from `offset` on, at most `limit`, cut between characters. Pure.
 *
 * @returns `isCut`: more bytes follow directly, beyond the limit
 */
export function cutPage(chunks: readonly Chunk[], from: number, limit: number): { offset: number; bytes: Uint8Array; isCut: boolean } {
  const parts: Uint8Array[] = [];
  let begin = from;
  let at = from;
  for (const chunk of chunks) {
    const end = chunk.offset + chunk.bytes.length;
    if (end <= at) continue;
    if (chunk.offset > at) {
      // Bytes are missing here: a page never spans a gap.
      if (parts.length > 0) break;
      begin = chunk.offset;
      at = chunk.offset;
    }
    parts.push(chunk.bytes.subarray(at - chunk.offset));
    at = end;
  }
  const whole = Buffer.concat(parts);
  if (whole.length <= limit) return { offset: begin, bytes: whole, isCut: false };
  return { offset: begin, bytes: whole.subarray(0, characterEnd(whole, limit)), isCut: true };
}

/** The end of the last character that ends at or before `limit`, or of the first character if none does. */
function characterEnd(bytes: Uint8Array, limit: number): number {
  const isContinuation = (index: number) => ((bytes[index] ?? 0) & 0xc0) === 0x80;
  let end = limit;
  while (end > 0 && isContinuation(end)) end -= 1;
  if (end > 0) return end;
  for (end = limit; end < bytes.length && isContinuation(end); ) end += 1;
  return end;
}
