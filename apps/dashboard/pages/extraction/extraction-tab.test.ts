import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { plainPng } from '@cairn/testing';
import { drawImages, imagePath, storeRejected } from '@cairn/testing/search-results';
import { storeSearchableModel } from '@cairn/testing/searchable-model';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { measureMainThread } from '../../testing/main-thread.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, openPage, store, datasets } = dashboard;
const { prisma } = harness;

test('10,000 shards are a grid that the keyboard reaches, with a page of a table, and say what is open', async () => {
  const runId = await harness.submit({ name: 'large', noReuse: true });
  for (const step of ['prepare', 'first', 'second', 'export']) await harness.play(runId, step);
  const [attempt = ''] = await harness.startAttempts(runId, 'extract_index');
  const { id: stepId } = await harness.step(runId, 'extract_index');
  await prisma.shard.deleteMany({ where: { stepId } });
  await prisma.$executeRaw`
    insert into shard (step_id, index, from_row, count, state, attempt_id, tries, rows, rejected, seconds, work, committed_at)
    select ${stepId}, i, i * 500, 500, case when i < 7000 then 'committed' when i < 7008 then 'leased' else 'pending' end,
           case when i < 7008 then ${attempt} end, case when i % 97 = 5 then 2 else 1 end, case when i < 7000 then 500 - (i % 50 = 3)::int end,
           case when i < 7000 then (i % 50 = 3)::int end,
           case when i < 7000 then '{"read":1.5,"decode":3,"infer":5,"write":0.5}'::jsonb end,
           case when i < 7000 then '{"bytesRead":50000000,"device":"CPU of a test","versions":{}}'::jsonb end, case when i < 7000 then now() end
      from generate_series(0, 9999) i`;
  await prisma.step.update({
    where: { id: stepId },
    data: { shardsTotal: 10_000, shardsCommitted: 7_000, rows: 3_499_860, rejected: 140 },
  });

  const page = await openPage('about:blank', { expected: [/status of 4\d\d/] });
  const noteMainThread = await measureMainThread(page);
  await page.goto(`/runs/${runId}?tab=extraction&step=extract_index`);
  await page.getByText('7,000 of 10,000 shards are committed: 3,499,860 rows + 140 rejected = 3,500,000 of 5,000,000 images').waitFor();
  const grid = page.getByRole('slider', { name: 'Shard' });
  await grid.waitFor();
  await noteMainThread('a grid of 10,000 shards');
  await grid.press('End');
  await grid.press('ArrowLeft');
  expect(await grid.getAttribute('aria-valuetext')).toBe('Shard 9998: open');
  await page.getByRole('region', { name: 'Table of shards' }).getByRole('button', { name: '9999' }).waitFor();
  await grid.press('Home');
  for (let at = 0; at < 3; at += 1) await grid.press('ArrowRight');
  expect(await grid.getAttribute('aria-valuetext')).toBe('Shard 3: committed by worker 1 in 10.0 s, 1 image rejected');
  expect(new URL(page.url()).searchParams.get('shard')).toBe('3');
  await page.getByLabel('Colour').selectOption('by worker');
  await expect.poll(() => new URL(page.url()).searchParams.get('colour')).toBe('worker');
  const workers = page.getByRole('region', { name: 'Workers' });
  await workers.getByText('50 %').first().waitFor();
  await workers.getByText('CPU of a test').first().waitFor();
  await page.getByText('Read', { exact: true }).first().waitFor();
  // 7,000 shards of 50 MB.
  await workers.getByText('350 GB').first().waitFor();
  expect(await page.locator('tbody tr').count()).toBeLessThanOrEqual(60);
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.setViewportSize({ width: 1280, height: 1000 });
  await dashboard.picture(page, 'extraction-dark-1280');
});

test('a picture of one’s own is searched with a registered model', async () => {
  const picture = (colour: readonly [number, number, number]) => plainPng({ width: 60, height: 40, colour });
  const images = [
    { id: 'red000', bytes: picture([230, 20, 20]) },
    { id: 'blue00', bytes: picture([20, 20, 230]) },
  ];
  const empty = await openPage('/try');
  await empty.getByText('No model is registered yet').waitFor();
  const runId = await harness.submit({ name: 'registered', noReuse: true });
  await harness.playAll(runId);
  await storeSearchableModel({ prisma, store }, runId, images);
  await drawImages(
    datasets,
    'index',
    images.map(({ id }) => id),
  );
  const source = { kind: 'folder', root: datasets, metadata: datasets, countries: null };
  await prisma.dataset.updateMany({ where: { name: 'toy' }, data: { source } });

  const page = await openPage('/try', { expected: [/status of 4\d\d/] });
  await page.getByLabel(/^Drop a picture here/).setInputFiles({ name: 'sea.png', mimeType: 'image/png', buffer: picture([20, 20, 230]) });
  const results = page.getByRole('region', { name: 'Nearest images' });
  await results.getByText('The nearest of 2 images by toy@').waitFor({ timeout: 60_000 });
  expect(await results.getByRole('listitem').first().innerText()).toMatch(/^1\. 1\.000\s+landmark 41\s+blue00$/);
  await page.waitForFunction(() => document.querySelector<HTMLImageElement>('img[alt="Result 1: blue00"]')?.naturalHeight === 90);
  expect(await accessibilityFaults(page)).toEqual([]);
  await dashboard.picture(page, 'try-dark-400');
  await page
    .getByLabel(/^Drop a picture here/)
    .setInputFiles({ name: 'note.txt', mimeType: 'text/plain', buffer: Buffer.from('no picture') });
  await page.getByRole('alert').getByText('The picture cannot be read: not a JPEG, PNG, WebP, GIF or TIFF file').waitFor();
});

test('a rejected image is shown with its reason, and where it cannot be shown, why', async () => {
  await drawImages(datasets, 'index', ['torn00', 'text00']);
  await writeFile(join(datasets, imagePath('index', 'text00')), 'no picture');
  const source = { kind: 'folder', root: datasets, metadata: datasets, countries: null };
  await prisma.dataset.updateMany({ where: { name: 'toy' }, data: { source } });
  const runId = await harness.submit({ name: 'with-rejected', noReuse: true });
  for (const step of ['prepare', 'first', 'second', 'export']) await harness.play(runId, step);
  const [attempt = ''] = await harness.startAttempts(runId, 'extract_index');
  await harness.commitAll(attempt, 2);
  const file = await storeRejected(store, attempt, [
    ['torn00', imagePath('index', 'torn00'), 'the file ends too early'],
    ['text00', imagePath('index', 'text00'), 'not a JPEG, PNG, WebP, GIF or TIFF file'],
  ]);
  const { id: stepId } = await harness.step(runId, 'extract_index');
  await prisma.shard.update({ where: { stepId_index: { stepId, index: 0 } }, data: { files: [file] } });
  await prisma.shard.updateMany({ where: { stepId, index: { gt: 0 } }, data: { rejected: 0 } });

  const page = await openPage(`/runs/${runId}?tab=extraction&step=extract_index`, { expected: [/status of 4\d\d/] });
  const rejected = page.getByRole('region', { name: 'Rejected images' });
  await rejected.getByRole('listitem').filter({ hasText: 'torn00' }).getByText('the file ends too early').waitFor();
  await page.waitForFunction(() => document.querySelector<HTMLImageElement>('img[alt="The rejected image torn00"]')?.naturalHeight === 90);
  await rejected
    .getByRole('listitem')
    .filter({ hasText: 'text00' })
    .getByText(/^The image .*text00.jpg cannot be read/)
    .waitFor();
});
