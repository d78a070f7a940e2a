import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { imageIds } from '../fixtures/feature-set.ts';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { writeSubmission } from './write-submission.ts';

test('every query has a row, in the order of the list, with its first hundred images', async () => {
  const path = join(await temporaryFolder(), 'submission.csv');
  const neighbours = new Map([
    ['b', ['x', 'y']],
    ['a', imageIds(120)],
    ['not in the list', ['z']],
  ]);
  await writeSubmission({ path, queryIds: ['a', 'none', 'b'], neighbours });
  expect(await readFile(path, 'utf8')).toBe(`id,images\na,${imageIds(100).join(' ')}\nnone,\nb,x y\n`);
});

test.each(['with space', 'with,comma', 'with"quote', 'with\nline', ''])('the id %j cannot stand in it, and no file is left', async (id) => {
  const folder = await temporaryFolder();
  const write = (queryIds: string[], images: string[]) =>
    writeSubmission({ path: join(folder, 'submission.csv'), queryIds, neighbours: new Map([['q', images]]) });
  await expect(write([id], [])).rejects.toMatchObject({ code: 'bad_row', message: expect.stringContaining(JSON.stringify(id)) });
  await expect(write(['q'], ['a', id])).rejects.toMatchObject({ code: 'bad_row' });
  expect(await readdir(folder)).toEqual([]);
});
