import { runOrigin, type ScheduleRequestInput, scheduleRequest } from '@cairn/contract';
import { getSchedule } from '@cairn/db';
import { sha256 } from '@cairn/runtime';
import { afterAll, expect, test } from 'vitest';
import { createEngine, serveTimers } from './index.ts';
import { ada, openEngineHarness, smallRecipe } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { ctx, engine, prisma } = harness;

const daily = { cron: '30 2 * * *', zone: 'Europe/Zurich' };
let names = 0;
async function aSchedule(change: Partial<ScheduleRequestInput> = {}): Promise<string> {
  names += 1;
  const name = `nightly-${names}`;
  const request = { name, ...daily, run: { recipe: smallRecipe, noReuse: true, until: ['prepare'] }, ...change };
  await engine.addSchedule(scheduleRequest.parse(request), ada);
  return name;
}
const show = (name: string) => getSchedule(prisma, { projectId: 'default', name });
const runsOf = (group: string) => prisma.run.findMany({ where: { group }, orderBy: { groupPlace: 'asc' } });
const dueOf = async (name: string) => new Date((await show(name)).next[0] ?? '');
const later = (time: Date, days: number, minutes = 0) => new Date(time.getTime() + days * 86_400_000 + minutes * 60_000);
const serve = (now: Date) => serveTimers(ctx, harness.lead, now);

test('a leader that is killed after it submitted a run does not start it twice', async () => {
  const name = await aSchedule({ run: { recipe: smallRecipe, until: ['prepare'], noReuse: true, labels: { tier: 'night' } } });
  const due = await dueOf(name);
  await serve(later(due, 0, -1));
  expect(await runsOf(name)).toEqual([]);
  // It has lost the lead when it sets the next time.
  const killed = { ...harness.lead, epoch: harness.lead.epoch - 1 };
  await expect(serveTimers(ctx, killed, due)).rejects.toMatchObject({ code: 'superseded' });
  expect(await show(name)).toMatchObject({ last: null });
  await serve(later(due, 0, 1));
  await serve(later(due, 0, 2));
  const runs = await runsOf(name);
  const dueAt = due.toISOString();
  const origin = { kind: 'schedule', schedule: name, dueAt, zone: (await show(name)).zone };
  expect(runs).toMatchObject([{ origin, owner: 'ada', labels: { tier: 'night' }, idempotencyKey: expect.stringContaining(dueAt) }]);
  expect(await show(name)).toMatchObject({ last: { outcome: 'started', due: dueAt, runId: runs[0]?.id } });
  expect(await prisma.auditEntry.findFirst({ where: { target: runs[0]?.id ?? '' } })).toMatchObject({
    actor: 'ada',
    tokenId: null,
    address: 'controller',
  });
  await engine.removeSchedule(name, ada);
});

test('of the times that an outage missed only the newest one starts a run', async () => {
  const name = await aSchedule();
  const due = await dueOf(name);
  const back = later(due, 9, 60);
  await serve(back);
  await serve(back);
  const runs = await runsOf(name);
  expect(runs).toHaveLength(1);
  const origin = runOrigin.parse(runs[0]?.origin);
  const dueAt = new Date(origin.kind === 'schedule' ? origin.dueAt : 0);
  expect(back.getTime() - dueAt.getTime()).toBeLessThan(86_400_000);
  expect((await prisma.timer.findFirstOrThrow({ where: { name: { startsWith: 'schedule:' } } })).dueAt > back).toBe(true);
  await engine.removeSchedule(name, ada);
  expect(await prisma.timer.count()).toBe(0);
});

test('when the earlier run is live the next is left out, waits, or cancels it', async () => {
  const states = async (overlap: 'skip' | 'queue' | 'cancel') => {
    const name = await aSchedule({ overlap });
    const due = await dueOf(name);
    await serve(due);
    await serve(later(due, 1, 60));
    const { last } = await show(name);
    await engine.removeSchedule(name, ada);
    return { states: (await runsOf(name)).map(({ state }) => state), last };
  };
  expect(await states('skip')).toMatchObject({
    states: ['queued'],
    last: { outcome: 'skipped', message: expect.stringMatching(/^left out, because small-\w+ was not over$/) },
  });
  expect(await states('queue')).toMatchObject({ states: ['queued', 'held'] });
  expect(await states('cancel')).toMatchObject({ states: ['cancelled', 'queued'] });
});

test('a run that its budget holds is not over, but leaves out none of its schedule', async () => {
  await engine.setBudget('label:tier=night', { gpuHours: 0, per: 'total', warnPercent: 80 }, ada);
  const name = await aSchedule({
    overlap: 'skip',
    run: { recipe: smallRecipe, until: ['prepare'], noReuse: true, labels: { tier: 'night' } },
  });
  const due = await dueOf(name);
  await serve(due);
  expect(await runsOf(name)).toMatchObject([{ state: 'held', hold: 'budget' }]);
  await engine.removeBudget('label:tier=night', ada);
  await serve(later(due, 1, 60));
  expect(await show(name)).toMatchObject({ last: { outcome: 'started' } });
  expect((await runsOf(name)).map(({ state }) => state).toSorted()).toEqual(['held', 'queued']);
  await engine.removeSchedule(name, ada);
});

test('a refused submission says why, and the schedule continues with the next time', async () => {
  const name = await aSchedule();
  const due = await dueOf(name);
  await serveTimers({ ...ctx, limits: { ...ctx.limits, ownerRuns: 1 } }, harness.lead, due);
  const { last, next } = await show(name);
  expect(last).toMatchObject({
    outcome: 'refused',
    code: 'quota_exceeded',
    runId: null,
    message: expect.stringContaining('CAIRN_OWNER_RUNS'),
  });
  expect(next).toHaveLength(5);
  await serve(later(due, 1, 60));
  expect(await show(name)).toMatchObject({ last: { outcome: 'started' } });
  await engine.removeSchedule(name, ada);
});

test('a failure that may pass is tried again, and given up after some tries', async () => {
  const name = await aSchedule();
  const due = await dueOf(name);
  const broken = { ...ctx, recipes: null as never };
  await prisma.schedule.update({ where: { projectId_name: { projectId: 'default', name } }, data: { run: { recipe: 'mini' } } });
  let now = due;
  for (let tries = 0; tries < 11; tries += 1) {
    await serveTimers(broken, harness.lead, now);
    now = later(now, 0, 2);
  }
  expect(await show(name)).toMatchObject({ last: { outcome: 'refused', code: 'internal' } });
  expect(await prisma.timer.findFirst()).toMatchObject({ tries: 0 });
  await engine.removeSchedule(name, ada);
});

test('a new version of a dataset starts what is bound to its name, once', async () => {
  const source = { kind: 'folder', root: '/images', metadata: '/metadata', countries: null } as const;
  const register = (text: string) =>
    engine.registerDataset({ name: 'places', source, digest: sha256(text), digestBasis: 'test', files: { metadata: {}, images: {} } }, ada);
  await expect(aSchedule({ cron: null, onDataset: 'places' })).rejects.toMatchObject({ code: 'not_found' });
  await register('one');
  const name = await aSchedule({ cron: null, onDataset: 'places' });
  await serve(new Date());
  expect(await runsOf(name)).toEqual([]);
  await register('two');
  await register('two');
  const killed = { ...harness.lead, epoch: harness.lead.epoch - 1 };
  await expect(serveTimers(ctx, killed, later(new Date(), 1))).rejects.toMatchObject({ code: 'superseded' });
  for (let round = 0; round < 2; round += 1) await serve(later(new Date(), 1));
  const [run, ...others] = await prisma.run.findMany({ where: { group: name }, include: { dataset: true } });
  expect(others).toEqual([]);
  expect(run).toMatchObject({ dataset: { name: 'places', version: 2 }, origin: { kind: 'dataset', dataset: 'places@2', schedule: name } });
  expect(await show(name)).toMatchObject({ next: [], last: { outcome: 'started', due: 'places@2', runId: run?.id } });
  // One that was postponed does not replace a newer one.
  await register('three');
  await prisma.timer.updateMany({ data: { notBefore: later(new Date(), 3), tries: 1 } });
  await register('four');
  await serve(later(new Date(), 1));
  await serve(later(new Date(), 4));
  expect(await show(name)).toMatchObject({
    last: { outcome: 'skipped', due: 'places@3', message: 'left out, because places@4 was started already' },
  });
  expect(await runsOf(name)).toMatchObject([{ id: run?.id }, { state: 'held' }]);
  await engine.pauseSchedule(name, ada);
  await register('five');
  expect(await prisma.timer.count()).toBe(0);
  await engine.removeSchedule(name, ada);
});

test('a paused schedule starts nothing, and continues with the next time; each act is in the audit log', async () => {
  const name = await aSchedule();
  const due = await dueOf(name);
  for (let time = 0; time < 2; time += 1) await engine.pauseSchedule(name, ada);
  await serve(later(due, 3));
  expect(await show(name)).toMatchObject({ next: [], last: null, pausedAt: expect.any(String) });
  await engine.resumeSchedule(name, ada);
  expect(await dueOf(name)).toEqual(due);
  const { runId } = await engine.runSchedule(name, { ...ada, name: 'bob' }, 'by-hand');
  expect(await engine.runSchedule(name, { ...ada, name: 'bob' }, 'by-hand')).toEqual({ runId, created: false });
  expect(await harness.run(runId)).toMatchObject({ owner: 'bob', origin: { kind: 'schedule', schedule: name } });
  await engine.removeSchedule(name, ada);
  await expect(engine.runSchedule(name, ada, null)).rejects.toMatchObject({ code: 'not_found' });
  const entries = await prisma.auditEntry.findMany({ where: { target: name }, orderBy: { id: 'asc' } });
  expect(entries.map(({ action }) => action)).toEqual(['schedule.add', 'schedule.pause', 'schedule.resume', 'schedule.remove']);
});

test('a schedule that could never start is refused when it is added', async () => {
  await expect(aSchedule({ cron: '0 3 * *' })).rejects.toMatchObject({ code: 'invalid_request' });
  await expect(aSchedule({ zone: 'Mars/Olympus' })).rejects.toMatchObject({ code: 'invalid_request' });
  await expect(aSchedule({ run: { recipe: smallRecipe, set: { 'stages.first.epoch': 1 } } })).rejects.toMatchObject({
    code: 'unknown_setting',
  });
  const name = await aSchedule();
  await expect(aSchedule({ name })).rejects.toMatchObject({ code: 'name_taken' });
  expect(scheduleRequest.safeParse({ name: 'x', run: { recipe: 'mini' } }).success).toBe(false);
  // Another project's names are its own.
  const other = createEngine(ctx, async () => 0);
  await expect(other.pauseSchedule(name, { ...ada, projectId: 'other' })).rejects.toMatchObject({ code: 'not_found' });
});
