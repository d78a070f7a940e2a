import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ImageSource, stepSettings } from '@cairn/contract';
import { inspectDataset } from '@cairn/dataset';
import { smallCollection } from '@cairn/testing';
import { expect, test, vi } from 'vitest';
import { openAttempt } from '../testing/open-attempt.ts';
import { specOf } from '../testing/specs.ts';
import { runPrepare } from './run-prepare.ts';

vi.setConfig({ testTimeout: 40_000 });

/** An attempt at the preparation of a registered collection with some files replaced (null: removed). */
async function openPrepare(files: Record<string, string | null> = {}) {
  const attempt = await openAttempt(specOf('prepare'));
  const root = join(attempt.folder, 'dataset');
  for (const [name, text] of Object.entries({ ...smallCollection, ...files })) {
    if (text === null) continue;
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  const source: ImageSource = { kind: 'folder', root, metadata: root, countries: null };
  const { files: registered } = await inspectDataset(source, { roots: null });
  const settings = stepSettings.prepare.parse({ lists: ['clean', 'index', 'query'] });
  return { ...attempt, root, context: { ...attempt.context, spec: { ...attempt.context.spec, source, settings, registered } } };
}

test('lists are made from a collection, and missing images are reported', async () => {
  const solution = 'id,images,Usage\nqqq1,iii1 iii2,Public\n';
  const { context, plane, reporter } = await openPrepare({ 'train/a/a/a/aaa2.jpg': null, 'retrieval_solution_v2.1.csv': solution });
  expect(await runPrepare(context)).toMatchObject({ outcome: 'succeeded', details: { lists: { clean: { rows: 2, missingImages: 1 } } } });
  await reporter.end();
  expect(plane.items('note')).toMatchObject([
    { level: 'warning', message: '1 of 2 rows of the list clean have no image file, such as train/a/a/a/aaa2.jpg' },
    { level: 'warning', message: '1 of 2 ground truths are not in index.csv: a search of the list index cannot find them' },
  ]);
});

test.each([
  ['a list without a row', { 'index.csv': 'id\n' }, /^The list index has no row/],
  ['no scored query', { 'retrieval_solution_v2.1.csv': 'id,images,Usage\nqqq1,None,Ignored\n' }, /^The list query has no row/],
  [
    'no ground truth in the index',
    { 'index.csv': 'id\niii2\n', 'index/i/i/i/iii2.jpg': 'x' },
    /^None of the 1 ground truths .* is in index.csv/,
  ],
  ['a list none of whose images is there', { 'index/i/i/i/iii1.jpg': null, 'index/x.jpg': 'x' }, /^None of the 1 images of the list index/],
])('%s ends the run before it trains', async (_, files, words) => {
  const { context } = await openPrepare(files);
  await expect(runPrepare(context)).rejects.toMatchObject({ code: 'empty_list', message: expect.stringMatching(words) });
});

test('files that differ from the registered ones end it, as does a dataset without recorded digests', async () => {
  const { context, root } = await openPrepare();
  await expect(runPrepare({ ...context, spec: { ...context.spec, registered: null } })).rejects.toMatchObject({ code: 'dataset_changed' });
  await rm(join(root, 'train/a/a/a/aaa2.jpg'));
  await expect(runPrepare(context)).rejects.toMatchObject({ code: 'dataset_changed' });
});

test('files outside of the allowed folders are not read', async () => {
  const { context } = await openPrepare();
  await expect(runPrepare({ ...context, datasetRoots: ['/data'] })).rejects.toMatchObject({ code: 'folder_not_allowed' });
});
