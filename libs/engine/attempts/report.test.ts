import type { ReportItem } from '@cairn/contract';
import { readLog } from '@cairn/db';
import { afterAll, expect, test } from 'vitest';
import { createEngine } from '../create-engine.ts';
import { openEngineHarness } from '../testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());

const chunkBytes = 64 * 1024;
const megabyte = 1024 * 1024;
/** Line n of a very long log, as long as a chunk. */
const chunk = (index: number): string => `${String(index).padStart(8, '0')}\n`.padStart(chunkBytes, '.');

/** Writes chunks `from` to `to` of an attempt's stdout. */
async function flood(limits: { attemptLogBytes: number; runLogBytes: number }, attemptId: string, from: number, to: number) {
  const engine = createEngine({ ...harness.ctx, limits: { ...harness.ctx.limits, ...limits } }, async () => 0);
  for (let index = from; index < to; index += 8) {
    const items = Array.from({ length: 8 }, (_, step) => ({
      type: 'log' as const,
      stream: 'stdout' as const,
      offset: (index + step) * chunkBytes,
      text: chunk(index + step),
    }));
    await engine.report(attemptId, 1, { seq: index / 8 + 1, at: new Date().toISOString(), items });
  }
}

async function keptOf(attemptId: string) {
  const { _sum } = await harness.prisma.attempt.aggregate({ where: { id: attemptId }, _sum: { logBytes: true } });
  const [row] = await harness.prisma.$queryRaw<{ bytes: bigint }[]>`
    select coalesce(sum(length(bytes)), 0)::bigint as bytes from log_chunk where attempt_id = ${attemptId}`;
  return { counted: Number(_sum.logBytes), stored: Number(row?.bytes) };
}

/** All pages of the log, joined. */
async function textOf(attemptId: string): Promise<string> {
  let text = '';
  for (let offset = 0; ; ) {
    const page = await readLog(harness.prisma, { projectId: 'default', attemptId, stream: 'stdout', offset, limit: megabyte });
    text += page.text;
    if (page.text === '') return text;
    offset = page.nextOffset;
  }
}

test('a log that is too long keeps its beginning and its end, and a line marks the gap', async () => {
  const runId = await harness.submit();
  const [attemptId = ''] = await harness.startAttempts(runId, 'prepare');
  const limits = { attemptLogBytes: 4 * megabyte, runLogBytes: 0 };
  await flood(limits, attemptId, 0, 256);
  const { counted, stored } = await keptOf(attemptId);
  expect(stored).toBeLessThanOrEqual(4 * megabyte + 200);
  expect(stored).toBeGreaterThan(3 * megabyte);
  expect(counted).toBe(stored);
  const text = await textOf(attemptId);
  for (const index of [0, 1, 15, 254, 255]) expect(text).toContain(chunk(index));
  expect(text).not.toContain(chunk(100));
  expect(text.match(/this part was removed/g)).toHaveLength(1);
  // Repeating the same report changes nothing.
  await flood(limits, attemptId, 248, 256);
  expect(await keptOf(attemptId)).toEqual({ counted, stored });
});

test('an attempt keeps its last output although other attempts of its run have used up the limit', async () => {
  const runId = await harness.submit({ set: { 'prepare.testSeed': 1 } });
  const [first = ''] = await harness.startAttempts(runId, 'prepare');
  const limits = { attemptLogBytes: 0, runLogBytes: 3 * megabyte };
  await flood(limits, first, 0, 48);
  await harness.engine.finishAttempt(first, 1, { outcome: 'failed', cause: 'infrastructure', code: 'program_failed', message: 'gone' });
  const [second = ''] = await harness.startAttempts(runId, 'prepare');
  await flood(limits, second, 0, 64);
  const { stored } = await keptOf(second);
  expect(stored).toBeLessThanOrEqual(megabyte + 200);
  expect(await textOf(second)).toContain(chunk(63));
});

test('an attempt adds a limited number of lines to the history of its run; beyond them its reports are applied without one', async () => {
  const runId = await harness.submit({ set: { 'prepare.testSeed': 2 } });
  const [attemptId = ''] = await harness.startAttempts(runId, 'prepare');
  const note = (message: string) => ({ type: 'note' as const, level: 'info' as const, message });
  const report = (seq: number, items: ReportItem[]) => harness.engine.report(attemptId, 1, { seq, at: new Date().toISOString(), items });
  const linesOf = async () =>
    (await harness.prisma.event.findMany({ where: { runId }, orderBy: { seq: 'asc' }, select: { message: true } })).map(
      ({ message }) => message,
    );
  const before = (await linesOf()).length;
  for (const seq of [1, 2, 3, 4])
    await report(
      seq,
      Array.from({ length: 500 }, (_, index) => note(`${seq}.${index}`)),
    );
  expect((await linesOf()).slice(before)).toHaveLength(2000);
  const checkpoint = { key: `staging/${attemptId}/a.pt`, bytes: 1, sha256: '0'.repeat(64), step: 1, epoch: 1, final: false };
  const badImage = { type: 'badImage' as const, imageId: 'abc', path: 'abc.jpg', reason: 'not an image' };
  await report(5, [note('too many'), badImage, { type: 'checkpoint', ...checkpoint }, badImage]);
  await report(6, [note('too many')]);
  const unreadable = 'prepare: image abc is unreadable and was skipped: not an image';
  const ours = 'prepare: attempt 1 has reported 2000 lines; its further ones are left out';
  expect((await linesOf()).slice(before + 2000)).toEqual([ours, unreadable, unreadable]);
  expect(await harness.prisma.checkpoint.count({ where: { attemptId } })).toBe(1);
});
