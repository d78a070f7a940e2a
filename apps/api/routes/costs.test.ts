import { expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { call, harness } = await openTestApi();

test('the ledger comes as CSV, and a period that ends before it begins is refused before the first line', async () => {
  const runId = await harness.submit();
  await harness.play(runId, 'prepare');
  await harness.play(runId, 'first');
  const { status, text, headers } = await call('viewer', 'GET', '/v1/ledger.csv', { query: { by: 'step' } });
  expect([status, headers['content-type']]).toEqual([200, 'text/csv; charset=utf-8']);
  const [titles, row, end] = text.split('\r\n');
  expect(titles).toMatch(/^key,name,run,held,/);
  expect(row).toMatch(/^first,first,,[0-9.]+,/);
  expect(end).toBe('');
  const period = { from: '2026-02-01T00:00:00Z', to: '2026-01-01T00:00:00Z' };
  const refused = await call('viewer', 'GET', '/v1/ledger.csv', { query: period });
  expect(refused).toMatchObject({ status: 400, json: { detail: expect.stringContaining('before it begins') } });
});
