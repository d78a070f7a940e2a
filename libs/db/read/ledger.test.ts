import { type AttemptState, attemptState, type LedgerGrouping, ledgerProperty, lossCause } from '@cairn/contract';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { exportLedger, readLedger } from './ledger.ts';
import { createRows, openTestDatabase } from './testing/rows.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);
beforeEach(() => rows.clear());

const epoch = Date.UTC(2026, 0, 10);
const at = (ms: number | null) => (ms === null ? null : new Date(epoch + ms));
/** Some milliseconds of ten days, whose ends fall on both sides of every period that is asked for. */
const moment = fc.integer({ min: 0, max: 10 * 86_400_000 });
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { freq: 3 });

/** An attempt whose times are in any order: clocks differ, and a row may have been written by a program that was wrong. */
const history = fc.array(
  fc.record({
    run: fc.integer({ min: 0, max: 2 }),
    step: fc.integer({ min: 0, max: 1 }),
    pool: fc.constantFrom('a100', 'h100', 'tasks'),
    slots: fc.integer({ min: 1, max: 8 }),
    state: fc.constantFrom<AttemptState>(...attemptState.options),
    cause: fc.constantFrom('user', 'gpu', 'infrastructure', 'of a later release', null),
    createdAt: moment,
    queuedAt: maybe(moment),
    startedAt: maybe(moment),
    keptAt: maybe(moment),
    lastContactAt: maybe(moment),
    lasts: fc.integer({ min: 0, max: 5 * 86_400_000 }),
  }),
  { maxLength: 12 },
);
type History = typeof history extends fc.Arbitrary<infer T> ? T : never;

const isLive = (state: AttemptState) => ['created', 'launching', 'running', 'stopping'].includes(state);
const owners = ['ada', 'bob', 'ada'];

/** Ids in the order of the histories' runs, so that the rows of one property do not meet those of another. */
async function insert(attempts: History): Promise<void> {
  await rows.clear();
  await prisma.pool.createMany({ data: [{ name: 'a100', executor: 'process', slots: 64, position: 0, gpuHourPrice: 2 }] });
  const made: { id: string; runId: string }[][] = [];
  for (const [index, owner] of owners.entries()) {
    const { id } = await rows.addRun({ owner, name: `run-${index}`, labels: index === 0 ? {} : { team: `t${index}` } });
    const steps = [await rows.addStep(id, { name: 'first' }), await rows.addStep(id, { name: 'second', position: 1 })];
    made.push(steps);
  }
  await prisma.attempt.createMany({
    data: attempts.map((attempt, ordinal) => {
      const step = made[attempt.run]?.[attempt.step];
      return {
        ...{ id: `att_${String(ordinal).padStart(26, '0')}`, runId: step?.runId ?? '', stepId: step?.id ?? '', ordinal, stepGeneration: 1 },
        ...{ state: attempt.state, pool: attempt.pool, slots: attempt.slots },
        ...(attempt.cause === null ? {} : { failure: { cause: attempt.cause, code: 'x', message: 'x' } }),
        createdAt: at(attempt.createdAt) ?? new Date(),
        ...{ queuedAt: at(attempt.queuedAt), startedAt: at(attempt.startedAt), keptAt: at(attempt.keptAt) },
        lastContactAt: at(attempt.lastContactAt),
        endedAt: isLive(attempt.state) ? null : at(attempt.createdAt + attempt.lasts),
      };
    }),
  });
}

const now = 9 * 86_400_000;
/** GPU-milliseconds that the attempts held in a period, from their ends alone. */
function heldIn(attempts: History, from: number, to: number, which: (attempt: History[number]) => boolean = () => true): number {
  return attempts
    .filter((attempt) => attempt.pool !== 'tasks' && which(attempt))
    .reduce((sum, { createdAt, lasts, state, slots }) => {
      const end = isLive(state) ? now : createdAt + lasts;
      return sum + slots * Math.max(0, Math.min(end, to, now) - Math.max(createdAt, from));
    }, 0);
}

/** Every page of a ledger, the second one later: what attempts do in between changes no sum. */
async function ledgerOf(by: LedgerGrouping, from: number, to: number) {
  const args = { projectId: 'default', by, from: at(from)?.toISOString(), to: at(to)?.toISOString(), limit: 3 };
  const items = [];
  let page = await readLedger(prisma, args, new Date(epoch + now));
  const { total } = page;
  for (;;) {
    items.push(...page.items);
    expect(page.total.held).toBe(total.held);
    if (page.nextCursor === null) return { total, items };
    page = await readLedger(prisma, { ...args, cursor: page.nextCursor }, new Date(epoch + now + 3_600_000));
  }
}

const ms = (seconds: number) => Math.round(seconds * 1000);
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

test('by every grouping and in every period, the sums are the times of the attempts: no second is lost or counted twice', async () => {
  await fc.assert(
    fc.asyncProperty(history, fc.tuple(moment, moment, moment), async (attempts, cuts) => {
      await insert(attempts);
      const [from = 0, middle = 0, to = 0] = cuts.toSorted((a, b) => a - b);
      for (const by of [...ledgerProperty.options, 'label:team']) {
        const { total, items } = await ledgerOf(by, from, to);
        expect(ms(total.held)).toBe(heldIn(attempts, from, to));
        for (const amounts of [total, ...items]) {
          const { held, useful, running, lost, idle, lostBy } = amounts;
          for (const part of [held, useful, running, lost, idle]) expect(part).toBeGreaterThanOrEqual(0);
          expect(sum([useful, running, lost, idle].map(ms))).toBe(ms(held));
          expect(sum(Object.values(lostBy).map(ms))).toBe(ms(lost));
        }
        for (const part of ['held', 'useful', 'running', 'lost', 'idle', 'queued'] as const)
          expect(sum(items.map((item) => ms(item[part])))).toBe(ms(total[part]));
        expect(new Set(items.map(({ key }) => key)).size).toBe(items.length);
        expect(items.map(({ held }) => held)).toEqual(items.map(({ held }) => held).toSorted((a, b) => b - a));
      }
      const halves = [await ledgerOf('owner', from, middle), await ledgerOf('owner', middle, to)];
      const whole = await ledgerOf('owner', from, to);
      for (const part of ['held', 'useful', 'running', 'lost', 'idle', 'queued'] as const)
        expect(sum(halves.map(({ total }) => ms(total[part])))).toBe(ms(whole.total[part]));
      for (const { key, held } of whole.items) expect(ms(held)).toBe(heldIn(attempts, from, to, ({ run }) => owners[run] === key));
    }),
    { numRuns: 6 },
  );
});

test('an export has the rows of all pages in their order, a thousand at a time, and stops when its reader does', async () => {
  const { id: runId } = await rows.addRun({ owner: 'ada' });
  const { id: stepId } = await rows.addStep(runId, { name: 'train' });
  await prisma.$executeRaw`
    insert into attempt (id, run_id, step_id, ordinal, step_generation, state, pool, slots, created_at, started_at, ended_at)
    select 'att_' || lpad(n::text, 26, '0'), ${runId}, ${stepId}, n, 1, 'succeeded', 'a100', 1, ${at(0)}, ${at(0)}, ${at(0)}::timestamptz + n % 7 * interval '1 s'
      from generate_series(1, 2300) n`;
  const args = { projectId: 'default', by: 'attempt' as const };
  const pages = [];
  for (let cursor: string | undefined; ; ) {
    const page = await readLedger(prisma, { ...args, limit: 1_000, cursor }, new Date(epoch + now));
    pages.push(page.items);
    if (page.nextCursor === null) break;
    cursor = page.nextCursor;
  }
  const parts: number[] = [];
  const exported: unknown[] = [];
  await exportLedger(
    prisma,
    args,
    async (some) => {
      parts.push(some.length);
      exported.push(...some);
    },
    new Date(epoch + now),
  );
  expect(parts).toEqual([1_000, 1_000, 300]);
  expect(exported).toEqual(pages.flat());
  const gone = exportLedger(prisma, args, () => Promise.reject(new Error('the reader left')), new Date(epoch + now));
  await expect(gone).rejects.toThrow('the reader left');
  const backwards = { ...args, from: '2026-02-01T00:00:00Z', to: '2026-01-01T00:00:00Z' };
  await expect(exportLedger(prisma, backwards, async () => undefined)).rejects.toMatchObject({ code: 'invalid_request' });
});

test('work is useful until it is stored, the rest is lost by its cause, and time without a program is idle; the price is that of the end', async () => {
  const minute = 60_000;
  const { id: runId } = await rows.addRun({ owner: 'ada' });
  const { id: stepId } = await rows.addStep(runId, { name: 'train' });
  const step = { id: stepId, runId };
  await rows.addPools([{ name: 'local', slots: 8 }]);
  await prisma.pool.updateMany({ data: { gpuHourPrice: 6 } });
  const times = (created: number, started: number) => ({ createdAt: at(created * minute) ?? '', startedAt: at(started * minute) });
  const { id } = await rows.addAttempt(step, {
    ...{ ...times(10, 12), queuedAt: at(5 * minute), keptAt: at(20 * minute), lastContactAt: at(26 * minute), slots: 2, state: 'running' },
  });
  const end = { state: 'lost', failure: { cause: 'gpu', code: 'gpu_lost', message: 'x' }, endedAt: at(30 * minute) };
  await prisma.attempt.update({ where: { id }, data: end });
  await rows.addAttempt(step, { ...times(30, 30), slots: 2, state: 'running' });
  await prisma.pool.updateMany({ data: { gpuHourPrice: 60 } });
  const { total } = await readLedger(prisma, { projectId: 'default', by: 'run', limit: 1 }, new Date(epoch + 40 * minute));
  expect(total).toEqual({
    ...{ held: 2 * 30 * 60, useful: 2 * 8 * 60, running: 2 * 10 * 60, lost: 2 * 6 * 60, idle: 2 * (2 + 4) * 60, queued: 2 * 5 * 60 },
    lostBy: { ...Object.fromEntries(lossCause.options.map((cause) => [cause, 0])), gpu: 2 * 6 * 60 },
    ...{ saved: 0, savedCost: null },
    // The one that ended at 6 an hour, the one that runs at 60.
    cost: (2 * 20 * 6 + 2 * 10 * 60) / 60,
  });
});
