import type { Page } from 'playwright-core';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, client, openPage } = dashboard;

const planOf = (page: Page, step: string) =>
  page.getByRole('list', { name: 'Plan' }).getByRole('listitem').filter({ hasText: step }).first();
const searchSettings = (page: Page, text: string) => page.getByRole('searchbox', { name: 'Search the settings' }).fill(text);

test('a setting that is changed in the table is in the text, in the address, and in the plan, and the text changes the table', async () => {
  const page = await openPage('/submit?recipe=tiny&dataset=toy', { expected: [/status of 400/] });
  await planOf(page, 'prepare').getByText('Runs').waitFor();
  await searchSettings(page, '512_all epochs');
  await page.getByRole('textbox', { name: 'stages.512_all.epochs' }).fill('3');
  const text = page.getByLabel('Recipe (YAML)');
  await expect.poll(() => text.inputValue()).toMatch(/512_all:[\s\S]*epochs: 3/);
  expect(await text.inputValue()).toContain('# A collection of a few dozen images');
  await expect.poll(() => new URL(page.url()).searchParams.getAll('set')).toEqual(['stages.512_all.epochs=3']);
  await page.reload();
  await page.getByRole('textbox', { name: 'stages.512_all.epochs' }).waitFor();
  expect(await page.getByRole('searchbox', { name: 'Search the settings' }).inputValue()).toBe('512_all epochs');
  await searchSettings(page, 'stages.512_all.sampler');
  await page.getByRole('combobox', { name: 'stages.512_all.sampler' }).selectOption('softmax');
  await page.getByText('2 changed').waitFor();

  // What the service says is at the field.
  await text.fill((await text.inputValue()).replace('sampler: softmax', 'sampler: softmacks'));
  const field = page.getByRole('textbox', { name: 'stages.512_all.sampler' });
  await expect.poll(() => field.getAttribute('aria-invalid')).toBe('true');
  await page
    .getByRole('alert')
    .getByText(/Did you mean "?softmax"?/i)
    .waitFor();
  await text.fill((await text.inputValue()).replace('sampler: softmacks', 'sampler: [softmax'));
  await page
    .getByText(/^(Flow|Missing)/)
    .first()
    .waitFor();
  await text.fill((await text.inputValue()).replace('sampler: [softmax', 'sampler: softmax'));

  await page.getByRole('button', { name: 'Copy as' }).click();
  const command = 'cairn submit --recipe tiny --set stages.512_all.sampler=softmax --set stages.512_all.epochs=3 --dataset toy';
  await page
    .getByText(command, { exact: true })
    .or(page.getByText(command.replace(/(--set \S+) (--set \S+)/, '$2 $1'), { exact: true }))
    .waitFor();
  await page.keyboard.press('Escape');
  // A removed stage is not an override: the whole recipe is submitted.
  await text.fill((await text.inputValue()).replace(/register:\n {2}model: tiny\n/, ''));
  await page.getByText(/submitted as a whole recipe/).waitFor();
  expect(new URL(page.url()).searchParams.getAll('set')).toEqual([]);
  expect(await accessibilityFaults(page)).toEqual([]);
});

test('a run is submitted again with a change: it shows what it runs again, a step with a result can be run again, and it is submitted', async () => {
  const runId = await harness.submit({ name: 'base' });
  await harness.playAll(runId);
  const page = await openPage(`/runs/${runId}`);
  await page.getByRole('link', { name: 'Submit again' }).click();
  await page.getByText('1 of 9 steps runs.').waitFor();
  await searchSettings(page, 'stages.first.batch');
  await page.getByRole('textbox', { name: 'stages.first.batch' }).fill('2');
  await planOf(page, 'first').getByText('setting batch: 2, was 4').waitFor();
  await page.getByText('stages.first.effectiveBatch=4').waitFor();
  await planOf(page, 'prepare').getByText('Reused').waitFor();
  await planOf(page, 'prepare').getByRole('checkbox', { name: 'run it again' }).check();
  await planOf(page, 'prepare').getByText('reuse is disabled for this step').waitFor();
  await planOf(page, 'prepare').getByRole('checkbox', { name: 'run it again' }).uncheck();
  await planOf(page, 'prepare').getByText('Reused').waitFor();
  await page.getByLabel('Name of the new run').fill('changed');
  await page.getByRole('button', { name: 'Submit', exact: true }).click();
  await page.getByRole('heading', { name: 'changed' }).waitFor();
  const [changed] = (await client.listRuns({ name: 'changed' })).items;
  const view = await client.getRun(changed?.id ?? '');
  expect(view.stepViews.map(({ name, state }) => `${name} ${state}`).slice(0, 2)).toEqual(['prepare reused', 'first ready']);
  expect(view.given?.set).toEqual({ 'stages.first.batch': 2 });

  // A stage goes on from a checkpoint: of its own, of a model, of a run that is found by its name.
  await page.goto(`/runs/${runId}?step=second`);
  await page.getByRole('link', { name: 'Train on from here' }).click();
  await planOf(page, 'second').getByText('Runs').waitFor();
  await planOf(page, 'first').getByText('Reused').waitFor();
  expect(new URL(page.url()).searchParams.getAll('set')).toEqual([`stages.second.from={"run":"${runId}","step":"second"}`]);
  await searchSettings(page, 'stages.second.from');
  await page.getByText('the last checkpoint of second of base').waitFor();
  const choose = page.getByRole('button', { name: 'Choose a checkpoint for stages.second.from' });
  await choose.click();
  await page.getByRole('button', { name: 'toy@1' }).click();
  await expect.poll(() => page.getByLabel('Recipe (YAML)').inputValue()).toMatch(/second:\n +from:\n +model: toy@1/);
  await choose.click();
  await page.getByRole('searchbox', { name: 'Search models, runs and imports' }).fill('bas');
  await page.getByText('None is found.').first().waitFor();
  await page.getByText(/^Succeeded base/).click();
  expect(await accessibilityFaults(page, [{ colorScheme: 'dark', width: 400 }])).toEqual([]);
  await page.getByRole('button', { name: 'first', exact: true }).click();
  await planOf(page, 'second').getByText('Reused').waitFor();
  await page.getByText('the last checkpoint of first of base').waitFor();

  const { secret: token } = await client.createToken({ name: 'onlooker', role: 'viewer' });
  const viewer = await openPage(`/submit?from=${runId}`, { token });
  await viewer.getByText('Your role may not submit runs').waitFor();
  expect(await viewer.getByRole('button', { name: 'Submit' }).count()).toBe(0);
});
