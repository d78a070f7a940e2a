import type { ReportItem } from '@cairn/contract';
import type { Transaction } from '@cairn/db';
import type { EngineContext } from '../context.ts';

type LogItem = Extract<ReportItem, { type: 'log' }>;
type Attempt = { id: string; runId: string };

/** An attempt keeps at least this much, however much other attempts of its run have written: its last output says why it failed. */
const minBytes = 1024 * 1024;
/** Share of an attempt's limit for the beginning of each of its two streams; the rest is for the newest output. */
const headShare = 1 / 4;
/** More than the excess is removed at a time, so that not every report has to remove some. */
const cutShare = 1 / 8;

const note = Buffer.from('\n[The log exceeded its size limit; this part was removed.]\n');

/**
 * Stores log chunks; storing the same chunk again changes nothing. Beyond the limit of the attempt or of its run, the middle is removed and
 * a line in its place says so: the beginning shows what was started, the end why it failed.
 */
export async function keepLogs(ctx: EngineContext, tx: Transaction, attempt: Attempt, items: readonly LogItem[]): Promise<void> {
  let added = 0;
  for (const item of items) {
    const bytes = Buffer.from(item.text, 'utf8');
    const inserted = await tx.$executeRaw`
      insert into log_chunk (attempt_id, stream, "offset", bytes, lines)
      values (${attempt.id}, ${item.stream}, ${item.offset}, ${bytes}, ${item.text.split('\n').length - 1}) on conflict do nothing`;
    if (inserted > 0) added += bytes.length;
  }
  if (added === 0) return;
  const { logBytes } = await tx.attempt.update({
    where: { id: attempt.id },
    data: { logBytes: { increment: added } },
    select: { logBytes: true },
  });
  const kept = Number(logBytes);
  if (kept <= minBytes) return;
  const most = await limitOf(ctx, tx, attempt);
  if (kept > most) await cutMiddle(tx, attempt.id, { most, excess: kept - most * (1 - cutShare) });
}

/** Bytes that the attempt may keep now. */
async function limitOf({ limits }: EngineContext, tx: Transaction, { id, runId }: Attempt): Promise<number> {
  const own = limits.attemptLogBytes || Number.POSITIVE_INFINITY;
  if (limits.runLogBytes === 0) return own;
  const { _sum } = await tx.attempt.aggregate({ where: { runId, id: { not: id } }, _sum: { logBytes: true } });
  return Math.max(minBytes, Math.min(own, limits.runLogBytes - Number(_sum.logBytes ?? 0)));
}

async function cutMiddle(tx: Transaction, attemptId: string, { most, excess }: { most: number; excess: number }): Promise<void> {
  const head = Math.floor(most * headShare);
  // Chunks of the head are removed last, and only where an agent reused its own offsets.
  const gone = await tx.$queryRaw<{ stream: string; offset: bigint; length: number }[]>`
    with chunk as (
      select stream, "offset", length(bytes) as length,
             sum(length(bytes)) over (order by "offset" + length(bytes) <= ${head}, "offset", stream) as upto
        from log_chunk where attempt_id = ${attemptId})
    delete from log_chunk l using chunk c
     where l.attempt_id = ${attemptId} and l.stream = c.stream and l."offset" = c."offset" and c.upto - c.length < ${Math.ceil(excess)}
    returning l.stream, l."offset", c.length`;
  let noted = 0;
  for (const stream of new Set(gone.map((chunk) => chunk.stream))) {
    const first = gone.reduce((least, { stream: one, offset }) => (one === stream && offset < least ? offset : least), 2n ** 62n);
    noted += await tx.$executeRaw`
      insert into log_chunk (attempt_id, stream, "offset", bytes, lines) values (${attemptId}, ${stream}, ${first}, ${note}, 2) on conflict do nothing`;
  }
  const removed = gone.reduce((sum, { length }) => sum + length, 0) - noted * note.length;
  await tx.attempt.update({ where: { id: attemptId }, data: { logBytes: { decrement: removed } } });
}
