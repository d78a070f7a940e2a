import { scheduleView } from '@cairn/contract';
import { smallRecipe } from '@cairn/engine/testing';
import { expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { call, prisma } = await openTestApi();
const body = { name: 'weekly', cron: '0 3 * * 1', zone: 'Europe/Zurich', run: { recipe: smallRecipe, until: ['prepare'] } };

test('a schedule is added, shown with its next times, run by hand, paused, resumed and removed', async () => {
  const added = await call('submitter', 'POST', '/v1/schedules', { body });
  expect(added).toMatchObject({ status: 201, headers: { location: '/v1/schedules/weekly' } });
  const view = scheduleView.parse(added.json);
  expect(view).toMatchObject({ owner: 'a-submitter', overlap: 'queue', onDataset: null, pausedAt: null, last: null });
  const times = view.next.map((time) =>
    new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Zurich', weekday: 'short', hour: '2-digit' }).format(new Date(time)),
  );
  expect(times).toEqual(Array.from({ length: 5 }, () => 'Mon, 03'));
  expect(await call('viewer', 'GET', '/v1/schedules')).toMatchObject({ json: { items: [{ name: 'weekly' }], nextCursor: null } });

  const headers = { 'idempotency-key': 'by-hand' };
  const run = await call('submitter', 'POST', '/v1/schedules/weekly/run', { headers });
  expect(run).toMatchObject({
    status: 201,
    json: { origin: { kind: 'schedule', schedule: 'weekly' }, group: 'weekly', owner: 'a-submitter' },
  });
  expect(await call('submitter', 'POST', '/v1/schedules/weekly/run', { headers })).toMatchObject({
    status: 200,
    json: { id: run.json.id },
  });

  expect(await call('submitter', 'POST', '/v1/schedules/weekly/pause')).toMatchObject({ status: 200, json: { next: [] } });
  expect(await call('submitter', 'POST', '/v1/schedules/weekly/resume')).toMatchObject({ json: { pausedAt: null, next: view.next } });
  expect(await call('submitter', 'DELETE', '/v1/schedules/weekly')).toMatchObject({ status: 204 });
  expect(await call('viewer', 'GET', '/v1/schedules/weekly')).toMatchObject({ status: 404, json: { code: 'not_found' } });
});

test('a schedule of another owner is changed by an admin alone', async () => {
  await call('admin', 'POST', '/v1/schedules', { body });
  for (const [method, path] of [
    ['POST', '/pause'],
    ['POST', '/resume'],
    ['POST', '/run'],
    ['DELETE', ''],
  ] as const) {
    const refused = await call('submitter', method, `/v1/schedules/weekly${path}`);
    expect(refused).toMatchObject({ status: 403, json: { detail: expect.stringContaining('the schedule weekly belongs to a-admin') } });
  }
  await prisma.schedule.updateMany({ data: { owner: 'somebody' } });
  expect(await call('admin', 'DELETE', '/v1/schedules/weekly')).toMatchObject({ status: 204 });
  expect(await call('submitter', 'POST', '/v1/schedules', { body: { ...body, cron: 'whenever' } })).toMatchObject({
    status: 400,
    json: { code: 'invalid_request' },
  });
  expect(await call('submitter', 'POST', '/v1/schedules', { body: { ...body, onDataset: 'toy' } })).toMatchObject({ status: 400 });
});
