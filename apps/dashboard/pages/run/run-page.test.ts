import type { Page } from 'playwright-core';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults, looks } from '../../testing/accessibility.ts';
import { failStage } from '../../testing/fail-stage.ts';
import { measureMainThread } from '../../testing/main-thread.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';
import { openTab } from '../../testing/open-tab.ts';
import { playStage } from '../../testing/play-stage.ts';
import { runTabs } from './run-search.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, client, openPage } = dashboard;

const stepRow = (page: Page, name: string) => page.getByRole('list', { name: 'Steps' }).getByRole('listitem', { name, exact: true });
const tab = (page: Page, name: string) =>
  page.getByRole('navigation', { name: 'Parts of the run' }).getByRole('link', { name, exact: true });

test('a run is watched from its submission to its mAP, without a reload', async () => {
  const url = 'https://code.example.com/team/landmarks/pull/7';
  const source = { provider: 'github', repository: 'team/landmarks', commit: 'a'.repeat(40), ref: 'wider', pullRequest: 7, url } as const;
  const runId = await harness.submit({ name: 'watched', noReuse: true, source, labels: { team: 'search' } });
  const page = await openPage(`/runs/${runId}`);
  await page.getByRole('heading', { name: 'watched' }).waitFor();
  const link = page.getByRole('link', { name: 'aaaaaaaaaaaa of team/landmarks, wider' });
  expect(await link.evaluate((element) => [element.getAttribute('href'), element.getAttribute('rel')])).toEqual([
    url,
    'noopener noreferrer',
  ]);
  expect(await page.getByRole('link', { name: 'team=search' }).getAttribute('href')).toMatch(/^\/runs\?label=.*team.*search/);
  await page.evaluate(() => document.body.setAttribute('data-first-load', 'yes'));
  await stepRow(page, 'second').getByText('Blocked').waitFor();

  await harness.play(runId, 'prepare');
  await stepRow(page, 'prepare').getByText('Succeeded').waitFor();
  const stage = await playStage(harness, runId, 'first');
  await stage.report({ type: 'progress', done: 25, total: 100, unit: 'steps', rate: 120, rateUnit: 'images', etaSeconds: 90, message: '' });
  await stepRow(page, 'first').getByText('120 images/s, 25 of 100 steps, 1 min 30 s left').waitFor();
  expect(await stepRow(page, 'first').getByRole('progressbar').getAttribute('aria-valuenow')).toBe('25');
  await stage.report({ type: 'evaluation', when: 'end', step: 100, mapAt100: 0.321 });
  await stage.succeed();
  await stepRow(page, 'first').getByText('mAP@100 32.1 %').waitFor();
  await harness.playAll(runId);
  await page
    .getByText('best 50.0 %, last 50.0 %')
    .or(page.getByText('50.0 %', { exact: true }))
    .first()
    .waitFor();
  await page.waitForFunction(() => document.title === 'Succeeded: watched · Cairn');
  expect(await page.getAttribute('body', 'data-first-load')).toBe('yes');

  await tab(page, 'Timeline').click();
  await page.getByRole('link', { name: /^first, attempt 1: succeeded/ }).waitFor();
  await tab(page, 'Events').click();
  await page.getByRole('link', { name: 'Older' }).click();
  await page.getByRole('list', { name: 'Events' }).getByText('first: mAP@100 32.10 % at the end').waitFor();
  await page.goBack();
  await page.getByRole('link', { name: 'Older' }).waitFor();
  await page.getByLabel('Events of').selectOption('prepare');
  await page.getByText('prepare is active').waitFor();
  await page.getByText('second is active').waitFor({ state: 'detached' });
  await page.goBack();
  await page.getByRole('link', { name: /^first, attempt 1: succeeded/ }).waitFor();

  await tab(page, 'Settings').click();
  await page.getByLabel('Search the settings').fill('second learningRate');
  await page.getByText('1 setting', { exact: true }).waitFor();
  await expect.poll(() => new URL(page.url()).searchParams.get('q')).toBe('second learningRate');
  await client.setAlias('toy', 'production', { version: 1, reason: 'the best so far' });
  await page.getByRole('link', { name: 'Models' }).click();
  await page.getByRole('link', { name: 'toy' }).click();
  await page.getByText('production is version 1: the best so far').waitFor();
  const row = page.getByRole('region', { name: 'Table of versions' }).getByRole('row').filter({ hasText: 'production' });
  await row.getByText('50.0 %').first().waitFor();
  expect(await accessibilityFaults(page, [{ colorScheme: 'dark', width: 400 }])).toEqual([]);
  await row.getByRole('link', { name: /^run/ }).click();
  await page.getByRole('heading', { name: 'watched' }).waitFor();
});

test('a failure is understood and retried in three clicks', async () => {
  const { runId } = await failStage(harness, 'diverged');
  const page = await openPage(`/runs/${runId}`);
  const failures = page.getByRole('region', { name: 'Failures' });
  await failures.getByRole('heading', { name: /^first failed: Training diverged/i }).waitFor();
  await failures.getByText('The loss is not finite at step 1,204.').waitFor();
  await failures.getByText('What to do').waitFor();

  await failures.getByRole('link', { name: 'Open the log there' }).click();
  const marked = page.getByRole('log').locator('[data-marked="true"]');
  await marked.getByText('FloatingPointError: loss is nan at step 1204').waitFor();
  expect(new URL(page.url()).searchParams.get('line')).toBe('4');
  expect(await page.getByRole('log').getByText('ERROR', { exact: true }).getAttribute('class')).toBe('ansi-red');
  await failures.getByRole('button', { name: 'Retry' }).click();
  await page
    .getByRole('dialog')
    .getByRole('button', { name: /^Retry \d+ steps$/ })
    .click();
  await failures.waitFor({ state: 'detached' });
  expect((await client.getRun(runId)).state).toBe('running');
});

test('cancelling says what stops, and a viewer sees no action', async () => {
  const runId = await harness.submit({ name: 'unwanted', noReuse: true });
  await harness.play(runId, 'prepare');
  const stage = await playStage(harness, runId, 'first');
  const page = await openPage(`/runs/${runId}`);
  const retry = page.getByRole('button', { name: 'Retry', exact: false }).first();
  expect(await retry.getAttribute('title')).toMatch(/the run is running; only a run that is .* can be retried/);
  await page.getByRole('button', { name: 'Cancel' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('first, which saves a checkpoint').waitFor();
  await dialog.getByLabel('Reason').fill('a typo');
  await dialog.getByRole('button', { name: 'Cancel the run' }).click();
  await page.getByText('Cancelling').first().waitFor();
  await harness.engine.finishAttempt(stage.attemptId, 1, { outcome: 'cancelled', message: 'a typo' });
  await page.waitForFunction(() => document.title === 'Cancelled: unwanted · Cairn');

  const { secret: token } = await client.createToken({ name: 'onlooker', role: 'viewer' });
  const viewer = await openPage(`/runs/${runId}?step=first`, { token });
  await viewer.getByRole('link', { name: 'Log of attempt 1' }).waitFor();
  expect(await viewer.getByRole('button', { name: /Retry|Cancel/ }).count()).toBe(0);
  expect(await viewer.getByRole('link', { name: /Submit again/ }).count()).toBe(0);
});

test('a log of 200,000 lines is read where it is looked at: few rows, few bytes, search, links, and its end as it grows', async () => {
  const runId = await harness.submit({ name: 'talkative', noReuse: true });
  await harness.play(runId, 'prepare');
  const stage = await playStage(harness, runId, 'first');
  const lines = Array.from({ length: 200_000 }, (_, index) => `step ${index + 1}/200000 loss 0.4321 accuracy 0.8765 1830.2 images/s`);
  lines[149_999] = 'needle: a loader was killed';
  lines[199_998] = Array.from({ length: 1_000 }, (_, index) => `\r${index / 10} % of the images`).join('');
  await stage.print(`${lines.join('\n')}\n`);

  const page = await openPage('about:blank');
  const noteMainThread = await measureMainThread(page);
  const sizes: Promise<number>[] = [];
  page.on('requestfinished', (request) => {
    if (request.url().includes('/logs/')) sizes.push(request.sizes().then(({ responseBodySize }) => responseBodySize));
  });
  await page.goto(`/runs/${runId}?tab=logs&step=first&line=100000`);
  const log = page.getByRole('log');
  const shows = async (line: string): Promise<void> => {
    await log.getByText(line, { exact: true }).waitFor();
    expect(await log.locator('[data-marked]').count()).toBeLessThanOrEqual(60);
  };
  await shows(lines[99_999] ?? '');
  await noteMainThread('a log of 200,000 lines, at line 100,000');
  expect(await log.locator('[data-marked="true"]').innerText()).toContain(lines[99_999]);
  await page.getByRole('button', { name: 'Top' }).click();
  await shows(lines[0] ?? '');
  await page.getByLabel('Search the log').fill('NEEDLE');
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  await page.getByText('1 of 1', { exact: true }).waitFor();
  await log.getByText('a loader was killed').waitFor();
  await page.getByRole('button', { name: 'Follow' }).click();
  await shows('99.9 % of the images');
  await stage.print('the last words\n');
  await shows('the last words');
  await log.hover();
  await page.mouse.wheel(0, -2_000);
  await page.getByRole('button', { name: 'Follow', exact: true }).waitFor();
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  // The log has 14 MB.
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(1_000_000);

  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download' }).click();
  expect((await download).suggestedFilename()).toBe('talkative-first-1.stdout.log');
});

test('four curves of 100,000 points are bounded answers that keep their peaks, and only the charts in sight are drawn', async () => {
  const runId = await harness.submit({ name: 'long', noReuse: true });
  await harness.play(runId, 'prepare');
  const { attemptId } = await playStage(harness, runId, 'first');
  const { id: stepId } = await harness.step(runId, 'first');
  await harness.prisma.$executeRaw`
    insert into metric_chunk (attempt_id, name, chunk, step_id, steps, values, times)
    select ${attemptId}, name, chunk, ${stepId}, array_agg(i order by i),
           array_agg(case when i = 77777 then 0.0123 else 0.5 + 0.1 * sin(i) end order by i), array_agg(1.8e9 + i order by i)
      from unnest(array['loss', 'accuracy', 'learning_rate', 'images_per_second']) as name,
           generate_series(0, 99) as chunk, generate_series(chunk * 1000 + 1, chunk * 1000 + 1000) as i
     group by name, chunk`;
  const page = await openPage('about:blank', { height: 500 });
  const noteMainThread = await measureMainThread(page);
  await page.goto(`/runs/${runId}?tab=training`);
  const chart = (title: string) => page.getByRole('figure', { name: title });
  // PostgreSQL unpacks 400,000 points.
  await chart('Loss').locator('canvas').waitFor({ timeout: 60_000 });
  await chart('Loss').getByText('best 0.0123').waitFor();
  await page.getByText('Long curves are shown by 1,000 of their points.').waitFor();
  await noteMainThread('4 curves of 100,000 points');
  const bytes = await page.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .filter(({ name }) => name.includes('/metrics'))
      .map((entry) => (entry as PerformanceResourceTiming).decodedBodySize),
  );
  // Each stage has a half of the points.
  expect(bytes.length).toBeGreaterThan(0);
  expect(Math.max(...bytes)).toBeLessThan(200_000);
  expect(await chart('Images per second').locator('canvas').count()).toBe(0);
  await chart('Images per second').scrollIntoViewIfNeeded();
  await chart('Images per second').locator('canvas').waitFor();
});

test('a run is tagged and annotated, found by both, and a view of them is kept for everyone and found by Ctrl+K', async () => {
  const runId = await harness.submit({ name: 'annotated' });
  const page = await openPage(`/runs/${runId}`, { expected: [/status of 409/] });
  const notes = page.getByRole('region', { name: 'Notes and tags' });
  await notes.getByLabel('Add a tag').fill('not a tag');
  await notes.getByText(/use letters, digits/).waitFor();
  await notes.getByLabel('Add a tag').fill('baseline');
  await notes.getByLabel('Add a tag').press('Enter');
  await notes.getByRole('link', { name: 'baseline' }).waitFor();
  await notes.getByRole('button', { name: 'Write a note' }).click();
  await notes.getByLabel('Note').fill('warmup is fixed');
  // Another person is faster: nothing is overwritten, and what was written stays.
  await client.annotateRun(runId, { note: 'the seed is 7' });
  await notes.getByRole('button', { name: 'Save the note' }).click();
  await notes.getByText('The note of annotated was changed meanwhile').waitFor();
  await notes.getByText('the seed is 7').waitFor();
  expect(await notes.getByLabel('Note').inputValue()).toBe('warmup is fixed');
  await notes.getByLabel('Note').fill('the seed is 7\nwarmup is fixed');
  await notes.getByRole('button', { name: 'I have taken it into account' }).click();
  await notes.getByRole('button', { name: 'Save the note' }).click();
  await notes.getByRole('button', { name: 'Change the note' }).waitFor();
  expect((await client.getRun(runId)).note?.text).toBe('the seed is 7\nwarmup is fixed');

  await notes.getByRole('link', { name: 'baseline' }).click();
  await page.getByRole('row').filter({ hasText: 'annotated' }).waitFor();
  await page.getByRole('button', { name: 'Views' }).click();
  await page.getByRole('button', { name: 'Save this view' }).click();
  const dialog = page.getByRole('dialog', { name: 'Save this view' });
  await dialog.getByLabel('Name').fill('our baselines');
  await dialog.getByLabel('Everyone sees it').check();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.waitFor({ state: 'detached' });
  expect((await client.listViews()).items).toMatchObject([{ name: 'our baselines', query: 'tag=baseline', isShared: true }]);

  const { secret: token } = await client.createToken({ name: 'reader', role: 'viewer' });
  const reader = await openPage(`/runs/${runId}`, { token });
  await reader.getByText('warmup is fixed').waitFor();
  expect(await reader.getByRole('button', { name: /note|Remove the tag/ }).count()).toBe(0);
  await reader.keyboard.press('Control+k');
  await reader.getByRole('combobox').fill('our base');
  await reader.getByRole('option', { name: 'our baselines' }).waitFor();
  await reader.keyboard.press('Enter');
  await reader.waitForURL(/runs\?tag=baseline$/);
  await reader.getByRole('button', { name: 'Views' }).click();
  await reader.getByRole('link', { name: 'our baselines' }).waitFor();
  expect(await reader.getByRole('button', { name: 'Remove the view our baselines' }).count()).toBe(0);
});

test('every tab is without serious findings of axe, by turns light and wide, and dark and narrow', async () => {
  const { runId } = await failStage(harness, 'looked-at');
  const page = await openPage(`/runs/${runId}?step=first`);
  const faults: string[] = [];
  for (const [index, name] of runTabs.entries()) {
    await openTab(page, name);
    const found = await accessibilityFaults(page, looks.slice(index % 2, (index % 2) + 1));
    faults.push(...found.map((fault) => `${name}: ${fault}`));
  }
  expect(faults).toEqual([]);
});
