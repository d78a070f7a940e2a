import { execFileSync } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { waitFor } from '@cairn/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { openParquet } from './open-parquet.ts';

const everything = 'select * from read_parquet($path, file_row_number = true) order by file_row_number';

test('what is written is read: text of any kind, integers, doubles, nulls, in its order', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'rows.parquet');
  const columns = { image_id: 'text', tar: 'text', rank: 'integer', score: 'double' } as const;
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(
          fc.string({ unit: 'grapheme' }),
          fc.option(fc.string()),
          fc.option(fc.integer()),
          fc.double({ noNaN: true, noDefaultInfinity: true }),
        ),
        { maxLength: 30 },
      ),
      async (rows) => {
        await parquet.write({ path, columns, rows });
        const table = await parquet.query({ path, sql: everything });
        expect(table.text('image_id')).toEqual(rows.map(([id]) => id));
        expect(table.textOrNull('tar')).toEqual(rows.map(([, tar]) => tar));
        expect(table.integerOrNull('rank')).toEqual(rows.map(([, , rank]) => rank));
        expect(table.number('score')).toEqual(rows.map(([, , , score]) => score));
      },
    ),
    { numRuns: 25 },
  );
});

test('the order holds over many chunks and row groups', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'many.parquet');
  const ids = Array.from({ length: 130_000 }, (_, index) => `${(index * 7919) % 130_000}`);
  await parquet.write({ path, columns: { image_id: 'text' }, rows: ids.map((id) => [id]) });
  expect((await parquet.query({ path, sql: everything })).text('image_id')).toEqual(ids);
});

test('a scan gives the rows in pieces and in their order, and throws what its caller throws', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'rows.parquet');
  const rows = Array.from({ length: 300_000 }, (_, row) => [`id${row}`, row] as const);
  await parquet.write({ path, columns: { image_id: 'text', label: 'integer' }, rows });
  const sql = 'select image_id, label::bigint as label from read_parquet($path)';
  const [pieces, found]: [number[], unknown[]] = [[], []];
  await parquet.scan({ path, sql }, (some) => {
    const labels = some.integer('label');
    pieces.push(labels.length);
    found.push(...some.text('image_id').map((id, row) => [id, labels[row]]));
  });
  expect(found).toEqual(rows);
  expect(Math.max(...pieces)).toBeLessThan(10_000);
  const refusal = new CairnError('bad_row', 'no');
  const refuse = () => {
    throw refusal;
  };
  await expect(parquet.scan({ path, sql }, refuse)).rejects.toBe(refusal);
  await expect(parquet.scan({ path, sql: 'select absent from read_parquet($path)' }, refuse)).rejects.toMatchObject({
    code: 'corrupt_artifact',
  });
});

test('a path is a path: quotes, brackets, stars and question marks in it mean nothing', async () => {
  const parquet = await testParquet();
  const folder = join(await temporaryFolder(), 'it\'s [a-z]* "?"; drop table x; --');
  await mkdir(folder);
  const row = (value: string) => ({ columns: { "o'clock": 'text' } as const, rows: [[value]] });
  await parquet.write({ path: join(folder, 'a?.parquet'), ...row('meant') });
  await parquet.write({ path: join(folder, 'ab.parquet'), ...row('not meant') });
  const table = await parquet.query({ path: join(folder, 'a?.parquet'), sql: 'select * from read_parquet($path)' });
  expect(table.text("o'clock")).toEqual(['meant']);
  expect(await readdir(folder)).toEqual(['a?.parquet', 'ab.parquet']);
  await expect(parquet.query({ path: join(folder, '*.parquet'), sql: everything })).rejects.toMatchObject({ code: 'corrupt_artifact' });
});

test('metadata is kept', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'a.parquet');
  await parquet.write({ path, columns: { n: 'integer' }, rows: [], metadata: { galleryDigest: "it's", rows: '3' } });
  expect(await parquet.metadata(path)).toEqual(
    new Map([
      ['galleryDigest', "it's"],
      ['rows', '3'],
    ]),
  );
});

test('a missing file, another file, a pipe and a missing column are corrupt artifacts that the message names', async () => {
  const parquet = await testParquet();
  const folder = await temporaryFolder();
  const missing = join(folder, 'missing.parquet');
  await expect(parquet.query({ path: missing, sql: everything })).rejects.toMatchObject({
    code: 'corrupt_artifact',
    message: expect.stringContaining(missing),
  });
  const text = join(folder, 'text.parquet');
  await writeFile(text, 'no parquet at all');
  await expect(parquet.query({ path: text, sql: everything })).rejects.toMatchObject({
    code: 'corrupt_artifact',
    message: expect.stringContaining(text),
  });
  const pipe = join(folder, 'pipe.parquet');
  execFileSync('mkfifo', [pipe]);
  await expect(parquet.query({ path: pipe, sql: everything })).rejects.toMatchObject({
    code: 'corrupt_artifact',
    message: `${pipe} cannot be read as the expected Parquet file: it is not a file`,
  });
  const other = join(folder, 'other.parquet');
  await parquet.write({ path: other, columns: { id: 'text' }, rows: [['a']] });
  await expect(parquet.query({ path: other, sql: 'select image_id from read_parquet($path)' })).rejects.toThrow('"image_id" not found');
});

test('a cell of another type is named with its row', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'a.parquet');
  await parquet.write({
    path,
    columns: { image_id: 'text', rank: 'double' },
    rows: [
      ['a', 1],
      [null, 1.5],
    ],
  });
  const table = await parquet.query({ path, sql: everything });
  expect(() => table.text('image_id')).toThrow(`${path}: column image_id of row 2 is null, not text`);
  expect(() => table.integer('rank')).toThrow(`${path}: column rank of row 2 is 1.5, not an integer`);
});

test('a long query ends with the signal, and the connection still works', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'a.parquet');
  await parquet.write({ path, columns: { n: 'integer' }, rows: [[1]] });
  const controller = new AbortController();
  const reason = new Error('superseded');
  const endless = 'select count(*) as n from range(1000000000000) numbers(i), read_parquet($path) where i % 7 = 3';
  const before = process.cpuUsage();
  const ended = expect(parquet.query({ path, sql: endless }, controller.signal)).rejects.toBe(reason);
  // Nothing else here computes so long: the query is under way.
  await waitFor(() => process.cpuUsage(before).user > 100_000, { message: 'the query to compute' });
  controller.abort(reason);
  await ended;
  expect((await parquet.query({ path, sql: 'select n from read_parquet($path)' })).integer('n')).toEqual([1]);
});

test('a query that takes longer than its limit fails as the storage does', async () => {
  const path = join(await temporaryFolder(), 'a.parquet');
  await (await testParquet()).write({ path, columns: { n: 'integer' }, rows: [[1]] });
  const hurried = await openParquet({ timeoutMs: 20 });
  const endless = 'select count(*) as n from range(1000000000000) numbers(i), read_parquet($path) where i % 7 = 3';
  await expect(hurried.query({ path, sql: endless })).rejects.toMatchObject({ code: 'storage_failed' });
  await hurried.close();
});

test('a closed connection says so', async () => {
  const parquet = await openParquet();
  await parquet.close();
  await parquet.close();
  await expect(async () => parquet.query({ path: 'a.parquet', sql: everything })).rejects.toThrow('The Parquet connection is closed');
});

test('a full disk is reported as such', async () => {
  const parquet = await testParquet();
  await expect(parquet.write({ path: '/dev/full', columns: { n: 'integer' }, rows: [[1]] })).rejects.toMatchObject({
    code: 'storage_full',
  });
});
