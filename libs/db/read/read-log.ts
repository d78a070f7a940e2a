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
  // The state first: once the attempt has ended, every chunk is stored.
  const attempt = await db.attempt.findFirst({
    where: { id: args.attemptId, step: { run: { projectId: args.projectId } } },
    select: { state: true, stepId: true, runId: true },
  });
  if (attempt === null) throw new CairnError('not_found', `Attempt ${args.attemptId} not found`);
  const isOver = !isLiveAttempt(readColumn(attemptState, attempt.state, `attempt ${args.attemptId} state`));
  let page = cutPage(await loadChunks(db, args), args.offset, args.limit);
  if (page.bytes.length === 0 && !page.isCut) {
    const next = await nextChunkOffset(db, args);
    if (next !== null) page = cutPage(await loadChunks(db, { ...args, offset: next }), next, args.limit);
  }
  const nextOffset = page.offset + page.bytes.length;
  return {
    stepId: attempt.stepId,
    runId: attempt.runId,
    stream: args.stream,
    offset: page.offset,
    nextOffset,
    text: new TextDecoder('utf-8', { ignoreBOM: true }).decode(page.bytes),
    end: isOver && !page.isCut && (await nextChunkOffset(db, { ...args, offset: nextOffset })) === null,
  };
}

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
