import { beforeAll, expect, test } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

/** On a machine that is busy with other tests. */
const limitMs = 240_000;
const { harness, openPage } = await openDashboard();
const { prisma, engine } = harness;
const ada = { name: 'ada', projectId: 'default', tokenId: null, address: null };

beforeAll(async () => {
  const runId = await harness.submit({ name: 'spender' });
  await harness.play(runId, 'prepare');
  const [attempt = ''] = await harness.startAttempts(runId, 'first', 1, 'gpu');
  await engine.finishAttempt(attempt, 1, { outcome: 'failed', cause: 'gpu', code: 'gpu_lost', message: 'an uncorrectable error' });
  // Two hours of this month, of which one was stored.
  await prisma.$executeRaw`
    update attempt set created_at = m, started_at = m, kept_at = m + interval '1 hour', ended_at = m + interval '2 hours', slots = 1
      from (select date_trunc('month', now(), 'UTC') as m) month where id = ${attempt}`;
  await engine.setBudget('owner:ada', { gpuHours: 1, per: 'month', warnPercent: 80 }, ada);
});

test(
  'the ledger says what was useful and lost, leads from an owner to its runs, and shows budgets; a held run is released on its page',
  async () => {
    const page = await openPage('/ledger');
    const row = page.getByRole('row', { name: /^ada / });
    await row.waitFor();
    expect(await row.getByRole('cell').allTextContents()).toEqual(expect.arrayContaining(['2 GPU h', '1 GPU h']));
    await page.getByText('gpu 1 GPU h').waitFor();
    await page.getByRole('region', { name: 'Budgets' }).getByText('2 of 1 GPU-hours of this month are used').waitFor();
    expect(await accessibilityFaults(page)).toEqual([]);
    await row.getByRole('link', { name: 'ada' }).click();
    await page.getByRole('row', { name: /^spender / }).waitFor();
    expect(new URL(page.url()).search).toBe('?by=run&owner=ada');
    await page.getByRole('link', { name: 'Last month' }).click();
    await page.getByText('No attempt held a GPU in this period').waitFor();

    const held = await harness.submit({ name: 'waits-for-budget' });
    const home = await openPage('/');
    await home.getByText(/waits-for-budget is held: the budget owner:ada/).waitFor();
    const runPage = await openPage(`/runs/${held}`);
    await runPage.getByRole('button', { name: 'Release' }).click();
    await runPage.getByRole('button', { name: 'Release' }).waitFor({ state: 'detached' });
    // It reuses the lists, so it has started.
    expect((await harness.run(held)).state).toBe('running');
  },
  limitMs,
);
