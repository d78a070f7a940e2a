import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tailOf } from './tail-of.ts';

function fileWith(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-tail-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'log'), text);
  return join(folder, 'log');
}

test('a short file is given whole', async () => {
  expect(await tailOf(fileWith('äb'), 100)).toBe('äb');
});

test('a long file is cut at a whole character', async () => {
  expect(await tailOf(fileWith('xäöü'), 5)).toBe('öü');
});

test('no file is an empty text', async () => {
  expect(await tailOf('/no/such/file', 10)).toBe('');
});
