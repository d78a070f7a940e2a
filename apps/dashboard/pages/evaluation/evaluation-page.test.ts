import { drawImages, storeSearchResults } from '@cairn/testing/search-results';
import type { Page } from 'playwright-core';
import { expect, test, vi } from 'vitest';
import { accessibilityFaults } from '../../testing/accessibility.ts';
import { openDashboard } from '../../testing/open-dashboard.ts';

vi.setConfig({ testTimeout: 240_000 });

const dashboard = await openDashboard();
const { harness, openPage, store, datasets } = dashboard;
const { prisma } = harness;

const gallery = Array.from({ length: 140 }, (_, at) => `img${String(at).padStart(3, '0')}`);
const queryIds = Array.from({ length: 12 }, (_, at) => `query${String(at).padStart(2, '0')}`);
await drawImages(datasets, 'index', gallery.slice(0, 130));
await drawImages(datasets, 'test', queryIds);
const source = { kind: 'folder', root: datasets, metadata: datasets, countries: null };
await prisma.dataset.updateMany({ where: { name: 'toy' }, data: { source } });

/** A run whose search ranks the three ground truths of each query from `first` on, with wrong images before them. */
async function aSearchedRun(name: string, firstOf: (at: number) => number) {
  const runId = await harness.submit({ name, noReuse: true });
  await harness.playAll(runId);
  const queries = queryIds.map((id, at) => {
    const truths = [0, 1, 2].map((next) => gallery[at * 10 + next] ?? '');
    const others = gallery.slice(20, 139).filter((image) => !truths.includes(image));
    const first = firstOf(at);
    // The last ground truth is missed.
    return { id, truths, found: [...others.slice(0, first), ...truths.slice(0, 2), ...others.slice(first, 98)] };
  });
  await storeSearchResults({ prisma, store }, runId, { gallery, queries });
  return runId;
}
await aSearchedRun('before', (at) => at);
const after = await aSearchedRun('after', (at) => (at === 3 ? 0 : at + (at % 2)));

const queryOf = (page: Page, id: string) => page.getByRole('listitem', { name: `Query ${id}`, exact: true });

test('from a run to its worst query, the wrong image that it found, and where that comes from', async () => {
  const page = await openPage(`/runs/${after}?step=evaluate`, { expected: [/status of 4\d\d/] });
  await page.getByRole('link', { name: 'Queries' }).click();
  await page.getByRole('heading', { name: 'after/evaluate' }).waitFor();
  await page.getByRole('img', { name: /^Queries by average precision/ }).waitFor();
  await page.getByRole('row', { name: /^Kaggle, Asia \d+\.\d+ %/ }).waitFor();
  const queries = page.getByRole('list', { name: 'Queries with their results' });
  await queryOf(page, 'query11')
    .getByRole('button', { name: /^Wrong: img020/ })
    .waitFor();
  expect(await queries.getByRole('listitem', { name: /^Query/ }).count()).toBe(10);
  expect(
    await queries
      .getByRole('listitem', { name: /^Query/ })
      .first()
      .getAttribute('aria-label'),
  ).toBe('Query query11');
  const requests: string[] = [];
  page.on('request', (request) => requests.push(new URL(request.url()).pathname));
  await page.getByLabel('Order').selectOption('best');
  const best = queryOf(page, 'query00');
  await best.getByRole('button', { name: 'Right: img000' }).waitFor();
  await best.getByText('1 of 3 ground truths missed').click();
  await best.getByRole('button', { name: 'Missed: img002' }).waitFor();
  // One for the page of scores, and one for all its results; the rest are pictures.
  expect(requests.filter((path) => path.startsWith('/v1/') && !path.includes('/images/'))).toEqual([
    '/v1/evaluation/queries',
    '/v1/evaluation/neighbours',
  ]);
  await page.waitForFunction(() => document.querySelector<HTMLImageElement>('img[alt="Right: img000"]')?.naturalWidth === 90);

  await best.getByRole('button', { name: /^Wrong: img020/ }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('landmark 2').waitFor();
  await dialog.getByRole('link', { name: '2 of extract_index' }).waitFor();
  await dialog.getByRole('link', { name: 'prepare of after' }).waitFor();
  await dialog.getByRole('link', { name: 'export of after' }).waitFor();
  expect(await accessibilityFaults(page, [{ colorScheme: 'dark', width: 400 }])).toEqual([]);
  await dashboard.picture(page, 'evaluation-image-dark-400');
  await dialog.getByRole('link', { name: 'second of after' }).click();
  await page.getByRole('list', { name: 'Steps' }).waitFor();
});

test('two evaluations are seen query by query: what is gained, lost and moved, over pages and back', async () => {
  const page = await openPage('/evaluation?of=after', { expected: [/status of 4\d\d/] });
  await page.getByRole('status').getByText('Live').waitFor();
  await page.getByLabel('Compare with').fill('before');
  await page.getByRole('button', { name: 'Compare', exact: true }).click();
  const gained = queryOf(page, 'query03');
  await gained.getByText(/^\+\d+\.\d from \d+\.\d %/).waitFor();
  await gained.getByRole('list', { name: 'First results of query03 in before/evaluate' }).waitFor();
  const first = gained.getByRole('list', { name: 'First results of query03', exact: true }).getByRole('button').first();
  expect(await first.getAttribute('title')).toBe('Right, 1: img030; 3 higher than in the other, where it is 4');
  expect(new URL(page.url()).searchParams.get('sort')).toBe('changed');
  expect(await accessibilityFaults(page)).toEqual([]);
  await page.getByRole('link', { name: 'Next page' }).click();
  await queryOf(page, 'query10').waitFor();
  await page.goBack();
  await gained.waitFor();
  await gained.getByRole('button', { name: 'Show the first 100' }).click();
  await gained.getByRole('button', { name: 'Show the first 10', exact: true }).waitFor();
  await gained
    .getByRole('button', { name: /img120/ })
    .first()
    .waitFor();

  await page.getByLabel('Compare with').fill('nowhere');
  await page.getByRole('button', { name: 'Compare', exact: true }).click();
  await page.getByRole('alert').getByText('No run nowhere').first().waitFor();
});
