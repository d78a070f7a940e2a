import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, client, openPage } = dashboard;
const { prisma } = harness;

test('the fleet shows its machines, who holds places, and what waits and why', async () => {
  const nodes = [
    { name: 'gpu-a', gpus: { total: 8, free: 0, unhealthy: 1 }, fits: 0, refusal: null },
    { name: 'gpu-b', gpus: { total: 8, free: 8, unhealthy: 0 }, fits: 0, refusal: 'cordoned' },
  ];
  const sentences = ['node gpu-a: 0 of 8 GPUs free, 1 unhealthy', 'node gpu-b: cordoned'];
  await prisma.pool.create({
    data: { name: 'gpu', executor: 'kubernetes', slots: 16, position: 0, attemptSlots: 8, room: { fits: 0, leaving: 0, sentences, nodes } },
  });
  const busy = await harness.submit({ name: 'busy' });
  await harness.play(busy, 'prepare');
  const [attemptId] = await harness.startAttempts(busy, 'first', 1, 'gpu');
  const waits = await harness.submit({ name: 'waits', noReuse: true });
  await harness.play(waits, 'prepare');

  const page = await openPage('/fleet');
  const pool = page.getByRole('region', { name: 'Pool gpu' });
  await pool.getByRole('listitem').filter({ hasText: 'gpu-a' }).getByText('Unhealthy GPUs').waitFor();
  await pool.getByRole('listitem').filter({ hasText: 'gpu-b' }).getByText('cordoned').waitFor();
  await page
    .getByRole('region', { name: 'Who holds places' })
    .getByRole('row', { name: /^busy \/ first gpu/ })
    .waitFor();
  const row = page.getByRole('region', { name: 'What waits' }).getByRole('row', { name: /^waits \/ first/ });
  const { stepViews } = await client.getRun(waits);
  const sentence = stepViews.find(({ name }) => name === 'first')?.waiting?.sentence ?? '';
  // The page of the run adds since when.
  await row.getByText(sentence.replace(/ \(since .*/, '')).waitFor();
  const work = await client.getFleetWork();
  expect(work.holders.map((one) => one.attemptId)).toEqual([attemptId]);
  expect(work.queues.map(({ name, depth }) => `${name} ${depth}`)).toEqual(['launch 0', 'tasks 0', 'finalize 0', 'judge 0', 'deliver 0']);
  expect(await accessibilityFaults(page, [{ colorScheme: 'dark', width: 400 }])).toEqual([]);
});

test('Ctrl+K jumps to a run and to a page; an admin creates and revokes a token, which the audit log shows, and a viewer sees none of it', async () => {
  const page = await openPage('/models');
  await page.getByRole('heading', { name: 'Models' }).waitFor();
  await page.keyboard.press('Control+k');
  const field = page.getByRole('combobox', { name: /^Go to/ });
  await field.fill('busy');
  await page.getByRole('option', { name: /^busy/ }).waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'busy' }).waitFor();
  await page.keyboard.press('Control+k');
  await field.fill('token');
  await page.getByRole('option', { name: /^Tokens/ }).waitFor();
  expect(await accessibilityFaults(page, [{ colorScheme: 'light', width: 400 }])).toEqual([]);
  await page.keyboard.press('Enter');

  await page.getByRole('button', { name: 'Create a token' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('robot');
  await dialog.getByLabel('Role').selectOption('viewer');
  await dialog.getByRole('button', { name: 'Create' }).click();
  const secret = (await dialog.getByText(/^cairn_/).textContent()) ?? '';
  await dialog.getByRole('button', { name: 'Done' }).click();
  const viewer = await openPage('/audit', { token: secret });
  await viewer.getByText('Your role may not read the audit log').waitFor();
  await page.getByRole('searchbox', { name: 'Search the tokens' }).fill('rob');
  await page.getByText('1 of 2', { exact: true }).waitFor();
  await expect.poll(() => new URL(page.url()).search).toBe('?q=rob');
  await page.reload();
  await page.getByText('1 of 2', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Revoke robot' }).click();
  await dialog.getByRole('button', { name: 'Revoke the token' }).click();
  await page.getByRole('button', { name: 'Revoke robot' }).waitFor({ state: 'detached' });

  await page.keyboard.press('Control+k');
  await field.fill('audit');
  await page.getByRole('option', { name: /^Audit/ }).waitFor();
  await page.keyboard.press('Enter');
  const log = page.getByRole('region', { name: 'Audit log' });
  await log.getByRole('row', { name: /token\.revoke .*revokedAt/ }).waitFor();
  await page.getByLabel('Action').fill('token.create');
  await page.keyboard.press('Enter');
  await log.getByRole('row', { name: /token\.create .*robot/ }).waitFor();
  await log.getByText('token.revoke').waitFor({ state: 'detached' });
  expect(new URL(page.url()).search).toBe('?action=token.create');
  expect(await accessibilityFaults(page, [{ colorScheme: 'dark', width: 400 }])).toEqual([]);
});
