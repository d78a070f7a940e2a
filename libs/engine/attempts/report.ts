import type { EventData, EventType, Hint, ReportItem, ReportReply, ReportRequest } from '@cairn/contract';
import { hintChannel, inTransaction, type Transaction } from '@cairn/db';
import { newId } from '@cairn/runtime';
import { toJson } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { emit, findStep, type RunWork } from '../run-work.ts';
import { withRun } from '../with-run.ts';
import { attemptNow, liveAttempt, refuseForeignKey } from './spec.ts';

type Attempt = Awaited<ReturnType<typeof liveAttempt>>;

/**
 * For each type of item: whether it belongs to the run's history and so needs the run's lock, for which other items must not wait; and what
 * clients are hinted to fetch again.
 */
const itemTypes = {
  log: { isHistory: false, hint: 'logs' },
  metrics: { isHistory: false, hint: 'metrics' },
  progress: { isHistory: false, hint: 'progress' },
  checkpoint: { isHistory: true, hint: null },
  resumed: { isHistory: true, hint: null },
  evaluation: { isHistory: true, hint: null },
  note: { isHistory: true, hint: null },
  badImage: { isHistory: true, hint: null },
} as const satisfies Record<ReportItem['type'], { isHistory: boolean; hint: Hint['what'] | null }>;
const isHistory = (item: ReportItem): boolean => itemTypes[item.type].isHistory;

/** Most unreadable images of a step that get a history line each; the rest are counted. */
const maxBadImageEvents = 20;
/** Most other lines that an attempt may add to its run's history. What it reports beyond them is applied, but not told. */
const maxLines = 2000;

/**
 * Applies an attempt's report. Reports are numbered: a repeated one is answered and not applied again, so an agent may retry until it gets
 * an answer. The answer says whether to continue.
 *
 * @throws CairnError `superseded`; `invalid_request` for a checkpoint that is not the attempt's own
 */
export async function report(ctx: EngineContext, attemptId: string, generation: number, request: ReportRequest): Promise<ReportReply> {
  const attempt = await liveAttempt(ctx.prisma, attemptId, generation);
  for (const item of request.items) if (item.type === 'checkpoint') refuseForeignKey(attemptId, item.key);
  const history = request.items.filter(isHistory);
  const rest = request.items.filter((item) => !isHistory(item));
  const apply = async (tx: Transaction): Promise<boolean> => {
    const taken = await tx.attempt.updateMany({
      where: { id: attemptId, generation, reportSeq: { lt: request.seq } },
      data: { reportSeq: request.seq, contact: 'ok', lastContactAt: new Date() },
    });
    if (taken.count === 0) return false;
    await keepLogs(
      ctx,
      tx,
      attempt,
      rest.filter((item) => item.type === 'log'),
    );
    // In the order of a commit, which locks the shard before the step.
    await tx.$executeRaw`update shard set lease_until = now() + make_interval(secs => ${ctx.limits.leaseSeconds}) where attempt_id = ${attemptId} and state = 'leased'`;
    for (const [index, item] of rest.entries()) await applyItem(tx, attempt, item, request.seq * 512 + index);
    await hint(tx, attempt, rest);
    return true;
  };
  if (history.length === 0) await inTransaction(ctx.prisma, apply);
  else {
    await withRun(ctx, attempt.runId, async (run) => {
      if (!(await apply(run.tx))) return;
      const lines = history.filter(({ type }) => type !== 'badImage').length;
      const { reportedLines } = await run.tx.attempt.update({
        where: { id: attemptId },
        data: { reportedLines: { increment: lines } },
        select: { reportedLines: true },
      });
      let line = reportedLines - lines;
      for (const item of history) {
        if (item.type !== 'badImage') line += 1;
        await applyHistory(run, attempt, item, tellerOf(run, attempt, line));
      }
    });
  }
  const { graceSeconds } = ctx.limits;
  const { state, stopCause: cause, stopReason: reason } = await attemptNow(ctx.prisma, attemptId);
  return state === 'stopping'
    ? { directive: 'stop', cause, reason, graceSeconds }
    : { directive: 'continue', cause: null, reason: null, graceSeconds };
}

async function applyItem(tx: Transaction, attempt: Attempt, item: ReportItem, chunk: number): Promise<void> {
  if (item.type === 'metrics') {
    await tx.$executeRaw`insert into metric_chunk (attempt_id, name, chunk, step_id, steps, values, times)
      values (${attempt.id}, ${item.name}, ${chunk}, ${attempt.stepId}, ${item.steps}::int[], ${item.values}::float8[], ${item.times}::float8[]) on conflict do nothing`;
  }
  if (item.type === 'progress') {
    const { type: _, ...progress } = item;
    await tx.step.update({ where: { id: attempt.stepId }, data: { progress: toJson(progress) } });
  }
}

/** Adds a line to the run's history. */
type Tell = <Type extends EventType>(type: Type, message: string, data: EventData[Type]) => void;

/** For the attempt's line number `line`, counted from 1. */
function tellerOf(run: RunWork, { stepId, ordinal }: Attempt, line: number): Tell {
  if (line <= maxLines) return (type, message, data) => emit(run, type, message, data);
  return () => {
    if (line > maxLines + 1) return;
    const said = `attempt ${ordinal} has reported ${maxLines} lines; its further ones are left out`;
    const { name } = findStep(run, stepId);
    emit(run, 'note', `${name}: ${said}`, { step: name, level: 'warning', said });
  };
}

async function applyHistory(run: RunWork, attempt: Attempt, item: ReportItem, tell: Tell): Promise<void> {
  const step = findStep(run, attempt.stepId);
  const { name } = step;
  if (item.type === 'checkpoint' && step.artifact?.memoKey) {
    const { type: _, ...values } = item;
    await run.tx.checkpoint.createMany({
      data: [{ id: newId('checkpoint'), stepId: attempt.stepId, attemptId: attempt.id, memoKey: step.artifact.memoKey, ...values }],
      skipDuplicates: true,
    });
    await run.tx.attempt.update({ where: { id: attempt.id }, data: { keptAt: run.now }, select: { id: true } });
    tell('checkpoint', `${name} saved a checkpoint at step ${item.step} (epoch ${item.epoch.toFixed(2)})`, {
      step: name,
      at: item.step,
      epoch: item.epoch,
    });
  }
  if (item.type === 'resumed') {
    const { type: _, ...resumedFrom } = item;
    await run.tx.attempt.update({ where: { id: attempt.id }, data: { resumedFrom } });
    // The agent read it back and compared its SHA-256.
    await run.tx.checkpoint.updateMany({ where: { id: item.checkpointId }, data: { verifiedAt: run.now } });
    tell('attempt', `${name}: attempt ${attempt.ordinal} resumes from step ${item.step} (epoch ${item.epoch.toFixed(2)})`, {
      step: name,
      attemptId: attempt.id,
      checkpointId: item.checkpointId,
      at: item.step,
    });
  }
  if (item.type === 'evaluation') {
    await run.tx
      .$executeRaw`update step set scores = scores || ${JSON.stringify({ [`mapAt100.${item.when}`]: item.mapAt100 })}::jsonb where id = ${attempt.stepId}`;
    tell('evaluation', `${name}: mAP@100 ${(item.mapAt100 * 100).toFixed(2)} % at the ${item.when}`, {
      step: name,
      when: item.when,
      mapAt100: item.mapAt100,
    });
  }
  if (item.type === 'note') tell('note', `${name}: ${item.message}`, { step: name, level: item.level, said: item.message });
  if (item.type === 'badImage') {
    const { rejected } = await run.tx.step.update({
      where: { id: attempt.stepId },
      data: { rejected: { increment: 1 } },
      select: { rejected: true },
    });
    if (rejected <= maxBadImageEvents) {
      emit(run, 'note', `${name}: image ${item.imageId} is unreadable and was skipped: ${item.reason}`, {
        step: name,
        imageId: item.imageId,
        path: item.path,
      });
    }
  }
}

async function hint(tx: Transaction, attempt: Attempt, items: readonly ReportItem[]): Promise<void> {
  const kinds = new Set(items.flatMap((item) => itemTypes[item.type].hint ?? []));
  for (const what of kinds) {
    const message: Hint = { topic: `run:${attempt.runId}`, runId: attempt.runId, stepId: attempt.stepId, what };
    await tx.$executeRaw`select pg_notify(${hintChannel}, ${JSON.stringify(message)})`;
  }
}

type LogItem = Extract<ReportItem, { type: 'log' }>;
type LoggingAttempt = { id: string; runId: string };

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
async function keepLogs(ctx: EngineContext, tx: Transaction, attempt: LoggingAttempt, items: readonly LogItem[]): Promise<void> {
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
async function limitOf({ limits }: EngineContext, tx: Transaction, { id, runId }: LoggingAttempt): Promise<number> {
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
