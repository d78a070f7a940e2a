import { type StubApi, startStubApi } from '@cairn/client/testing';
import { type LedgerRow, lossCause } from '@cairn/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

const lostBy = Object.fromEntries(lossCause.options.map((cause) => [cause, cause === 'gpu' ? 36 : 0])) as LedgerRow['lostBy'];
const amounts = { held: 7200, useful: 7000, running: 0, lost: 36, lostBy, idle: 164, queued: 0, saved: 3600, cost: 12.5, savedCost: null };
const hostile = '=HYPERLINK("http://x","a"),b';

let api: StubApi;
beforeAll(async () => {
  api = await startStubApi();
  const period = { by: 'owner', from: '2026-01-01T00:00:00.000Z', to: '2026-01-02T00:00:00.000Z', asOf: '2026-01-02T00:00:00.000Z' };
  api.on('GET', '/v1/ledger', ({ query }) => {
    const isSecond = query.has('cursor');
    const key = isSecond ? 'bob' : hostile;
    return { ...period, total: amounts, items: [{ key, name: key, runId: null, ...amounts }], nextCursor: isSecond ? null : 'next' };
  });
});
afterAll(() => api.close());

test('a policy says when the leader collects next, not that it has collected, right after it is set', async () => {
  const policy = { runsOlderThanDays: 90, checkpoints: 0, keepLabels: [], everyHours: 24, setBy: 'ada' };
  const at = '2026-01-02T03:10:00.000Z';
  api.on('GET', '/v1/retention', () => ({ ...policy, updatedAt: at, collectedAt: at }));
  const { out } = await runTestCli(['retention'], { url: api.url });
  expect(out).toContain('The leader collects next in 1 d 0 h.');
  api.on('GET', '/v1/retention', () => ({ ...policy, everyHours: null, updatedAt: at, collectedAt: at }));
  expect((await runTestCli(['retention'], { url: api.url })).out).not.toContain('collects next');
});

test('as CSV the ledger is what the service writes, as it arrives', async () => {
  api.on('GET', '/v1/ledger.csv', ({ query }, response) => {
    response.writeHead(200, { 'content-type': 'text/csv' });
    response.write(`key,name\r\n${query.get('by')},`);
    response.end(`${query.get('from')}\r\n`);
  });
  const { code, out } = await runTestCli(['ledger', '--csv', '--from', '2026-01-01'], { url: api.url });
  expect(code).toBe(0);
  expect(out).toBe('key,name\r\nowner,2026-01-01T00:00:00Z\r\n');
});

test('the ledger is a table in GPU-hours with its total; a time without an offset is refused', async () => {
  const { out } = await runTestCli(['ledger'], { url: api.url });
  expect(out).toMatch(/^2026-01-01 00:00 to 2026-01-02 00:00 UTC, in GPU-hours/);
  expect(out).toMatch(/^bob +2\.00 +1\.94 +0\.01 +0\.05 +1\.00 +12\.50$/m);
  expect(out).toMatch(/^total +2\.00/m);
  expect((await runTestCli(['ledger', '--to', '2026-01-01T00:00'], { url: api.url })).code).toBe(2);
});
