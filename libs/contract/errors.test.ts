import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { CairnError, type ErrorRow, errorTable, isCairnError } from './errors.ts';
import { errorsPage, errorsPagePath } from './generate-errors.ts';

const rows: [string, ErrorRow][] = Object.entries(errorTable);

describe('the error table', () => {
  test('is what docs/errors.md shows', async () => {
    expect(await readFile(errorsPagePath, 'utf8')).toBe(errorsPage());
  });

  test('gives each code an error status, a title without a full stop and a remedy with one', () => {
    const wrong = rows.filter(
      ([, row]) => row.status < 400 || row.status > 599 || !/^[A-Z].*[^.]$/.test(row.title) || !/^[A-Z].*\.$/.test(row.remedy),
    );
    expect(wrong).toEqual([]);
  });

  test('never asks a caller to repeat a call that the caller has to correct', () => {
    const repeated = rows.filter(([, row]) => row.retry && row.status < 500 && row.status !== 429).map(([code]) => code);
    expect(repeated).toEqual([]);
  });

  test('gives no two codes the same title', () => {
    expect(new Set(rows.map(([, row]) => row.title)).size).toBe(rows.length);
  });
});

describe('an error of Cairn', () => {
  test('carries its row, its details and its cause', () => {
    const cause = new Error('ENOSPC');
    const error = new CairnError('storage_full', 'no space left on /data', { details: { path: '/data' }, cause });
    expect(error.row).toBe(errorTable.storage_full);
    expect(error.details).toEqual({ path: '/data' });
    expect(error.cause).toBe(cause);
  });

  test('is distinguished from other errors, and by its codes', () => {
    const error = new CairnError('not_found', 'no such run');
    expect(isCairnError(error)).toBe(true);
    expect(isCairnError(error, 'forbidden', 'not_found')).toBe(true);
    expect(isCairnError(error, 'forbidden')).toBe(false);
    expect(isCairnError(new Error('not_found'))).toBe(false);
  });
});
