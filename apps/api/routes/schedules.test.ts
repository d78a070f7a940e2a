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

test('a view is of the one who saved it, others see what is shared, and an admin may remove that', async () => {
  const save = (role: 'viewer' | 'submitter', name: string, view: object) =>
    call(role, 'PUT', `/v1/views/${encodeURIComponent(name)}`, { body: view });
  expect(await save('viewer', 'my failures', { query: 'state=failed' })).toMatchObject({
    status: 200,
    json: { items: [{ page: 'runs' }] },
  });
  expect(await save('viewer', 'for all', { query: '', isShared: true })).toMatchObject({
    status: 403,
    json: { detail: expect.stringContaining('it shares the view with the project') },
  });
  await save('submitter', 'team', { query: 'label=team%3Dsearch', isShared: true });
  await save('submitter', 'team', { query: 'label=team%3Dvision', isShared: true });
  const seen = async (role: 'viewer' | 'submitter') => (await call(role, 'GET', '/v1/views')).json.items;
  expect(await seen('viewer')).toMatchObject([
    { name: 'my failures', owner: 'a-viewer', isShared: false },
    { name: 'team', owner: 'a-submitter', query: 'label=team%3Dvision' },
  ]);
  expect(await seen('submitter')).toMatchObject([{ name: 'team' }]);

  for (const query of ['a b', '#x', '?x', 'x'.repeat(2_001)])
    expect(await save('viewer', 'wrong', { query })).toMatchObject({ status: 400 });
  expect(await save('viewer', ' padded', { query: '' })).toMatchObject({ status: 400 });
  const remove = (role: 'viewer' | 'admin', name: string, query: Record<string, string> = {}) =>
    call(role, 'DELETE', `/v1/views/${name}`, { query });
  expect(await remove('viewer', 'team', { owner: 'a-submitter' })).toMatchObject({ status: 403 });
  expect(await remove('viewer', 'team')).toMatchObject({ status: 404, json: { code: 'not_found' } });
  expect(await remove('admin', 'team', { owner: 'a-submitter' })).toMatchObject({ status: 200, json: { items: [] } });
  expect(await seen('submitter')).toEqual([]);
  await prisma.savedView.createMany({
    data: Array.from({ length: 99 }, (_, n) => ({ projectId: 'default', owner: 'a-viewer', name: `view ${n}`, page: 'runs', query: '' })),
  });
  expect(await save('viewer', 'one more', { query: '' })).toMatchObject({
    status: 400,
    json: { detail: 'a-viewer has 100 views, the maximum' },
  });
});
