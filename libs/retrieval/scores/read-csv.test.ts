import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { readSolution, readSubmission } from './read-csv.ts';

async function fileOf(text: string | Buffer): Promise<string> {
  const path = join(await temporaryFolder(), 'file.csv');
  await writeFile(path, text);
  return path;
}

test('a submission is read with its images in their order', async () => {
  const path = await fileOf('\uFEFFid,images\r\nq1,i2 i1\r\nq2,\r\n"q3","i3"\r\n\r\n');
  expect([...(await readSubmission(path))]).toEqual([
    ['q1', ['i2', 'i1']],
    ['q2', []],
    ['q3', ['i3']],
  ]);
});

test('a solution is read with its usages', async () => {
  const path = await fileOf('id,images,Usage\nq1,i2 i1,Public\nq2,None,Ignored\nq3,"i3 i4",Private\n');
  expect([...(await readSolution(path))]).toEqual([
    ['q1', { usage: 'Public', imageIds: ['i2', 'i1'] }],
    ['q2', { usage: 'Ignored', imageIds: [] }],
    ['q3', { usage: 'Private', imageIds: ['i3', 'i4'] }],
  ]);
});

test.each([
  ['', 'missing_column', 'is empty, without the header id,images,Usage'],
  ['id,images\nq1,i1\n', 'missing_column', 'begins with "id,images", not with the header id,images,Usage'],
  [
    'id,images,Usage\nq1,i1,Public\nq2,i1,Hidden\n',
    'bad_row',
    'line 3: "q2,i1,Hidden" is not a row of id,images,Usage: a query, image ids',
  ],
  ['id,images,Usage\nq1,i1,Public\nq1,i2,Public\n', 'bad_row', 'line 3: the query q1 already has a row, line 2'],
  ['id,images,Usage\nq1,None,Private\n', 'bad_row', 'line 2: the query is Private, but has no ground truth'],
])('the solution %j is refused', async (text, code, message) => {
  await expect(readSolution(await fileOf(text))).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});

test.each([
  ['UTF-16', Buffer.from('\uFEFFid,images\nq1,i1\n', 'utf16le'), 'missing_column', 'is not text in UTF-8'],
  ['UTF-16 without its mark', Buffer.from('id,images\nq1,i1\n', 'utf16le'), 'missing_column', 'is not text in UTF-8'],
  ['Latin-1 in a row', Buffer.from('id,images\nq\xe4,i1\n', 'latin1'), 'bad_row', 'line 2: it is not text in UTF-8'],
])('a submission in %s is refused as what it is', async (_, bytes, code, message) => {
  await expect(readSubmission(await fileOf(bytes))).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});

test('a file that is not there, a folder and a pipe are named', async () => {
  await expect(readSubmission('/nowhere/s.csv')).rejects.toMatchObject({
    code: 'missing_file',
    message: expect.stringContaining('/nowhere/s.csv cannot be read: ENOENT'),
  });
  await expect(readSubmission('/')).rejects.toMatchObject({ code: 'missing_file', message: '/ cannot be read: it is not a file' });
  const pipe = join(await temporaryFolder(), 'pipe.csv');
  execFileSync('mkfifo', [pipe]);
  await expect(readSubmission(pipe)).rejects.toMatchObject({ code: 'missing_file', message: `${pipe} cannot be read: it is not a file` });
});
