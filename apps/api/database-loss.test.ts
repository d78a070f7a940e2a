import { submitRequest } from '@cairn/contract';
import { openDatabase } from '@cairn/db';
import { smallRecipe } from '@cairn/engine/testing';
import { afterAll, expect, test } from 'vitest';
import { openTestApi } from './testing/test-api.ts';

const { harness, call } = await openTestApi();
const { prisma: own, close } = openDatabase({ url: harness.databaseUrl, connections: 1 });
afterAll(close);

test('calls whose connection to PostgreSQL breaks get `unavailable`, never `internal`, and later calls succeed', async () => {
  const statuses = new Map<string, number>();
  let isOver = false;
  const callers = Array.from({ length: 6 }, async (_, caller) => {
    for (let n = 0; !isOver; n += 1) {
      const answer =
        caller % 2 === 0
          ? await call('viewer', 'GET', '/v1/runs')
          : await call('submitter', 'POST', '/v1/runs', {
              body: submitRequest.parse({ recipe: smallRecipe, set: { 'prepare.testSeed': caller * 1000 + n } }),
            });
      const seen = `${answer.status} ${answer.json.code ?? ''}`;
      statuses.set(seen, (statuses.get(seen) ?? 0) + 1);
    }
  });
  const succeeded = () => ['200 ', '201 '].map((seen) => statuses.get(seen) ?? 0);
  for (let round = 0; round < 12; round += 1) {
    const before = succeeded();
    await own.$queryRaw`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
    // The connections are cut again once the callers have recovered.
    await expect.poll(() => succeeded().every((count, index) => count > (before[index] ?? 0)), { timeout: 10_000, interval: 5 }).toBe(true);
  }
  isOver = true;
  await Promise.all(callers);
  expect([...statuses.keys()].toSorted()).toEqual(['200 ', '201 ', '503 unavailable']);
});
