import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openDatabase } from './duckdb.ts';
import { makingBeside, writingUnder } from './folders.ts';

// /dev/full takes no byte: the system answers every write as a full disk does.
test('a full disk is reported with the folder, for files and for DuckDB', async () => {
  await expect(writingUnder('/some/folder', () => writeFile('/dev/full', 'x'))).rejects.toMatchObject({
    code: 'storage_full',
    message: expect.stringContaining('no space left in /some/folder'),
  });
  const database = await openDatabase();
  const copied = writingUnder('/some/folder', () => database.run(`copy (select * from range(100000)) to '/dev/full' (format parquet)`));
  await expect(copied).rejects.toMatchObject({ code: 'storage_full' });
  database.close();
});

test('other errors stay what they are, and an abort is its reason', async () => {
  await expect(writingUnder('/x', async () => Promise.reject(new Error('other')))).rejects.toThrow('other');
  const signal = AbortSignal.abort(new Error('enough'));
  await expect(writingUnder('/x', async () => Promise.reject(new Error('other')), signal)).rejects.toThrow('enough');
});

test('a folder that cannot be made is named', async () => {
  await expect(makingBeside('/proc/x', async () => undefined)).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringMatching(/^\/proc\/x cannot be created: ENOENT/),
  });
});
