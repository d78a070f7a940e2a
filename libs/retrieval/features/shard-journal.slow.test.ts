import { mkdtemp, open, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openJournal } from './shard-journal.ts';

vi.setConfig({ testTimeout: 300_000 });

test('a journal of more than 2 GiB, as of a million images, is read back to its last whole batch', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-journal-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'journal');
  const [dim, rows, batches] = [4096, 1024, 260];
  const of = { extraction: 'all', part: 3, dim };
  const { journal } = await openJournal(path, of);
  const features = new Float16Array(rows * dim);
  const idsOf = (batch: number): string[] => Array.from({ length: rows }, (_, row) => `${batch}-${row}`);
  for (let batch = 0; batch < batches; batch += 1) {
    features[0] = batch;
    await journal.append({ imageIds: idsOf(batch), features });
  }
  await journal.close();
  const { size } = await stat(path);
  expect(size).toBeGreaterThan(2 ** 31);
  // The last batch is cut, as by a kill.
  await truncate(path, size - 1);
  const { known } = await openJournal(path, of);
  expect(known.size).toBe((batches - 1) * rows);
  const last = known.get(`${batches - 2}-0`);
  const file = await open(path);
  const value = new Float16Array(1);
  await file.read(value, 0, 2, last !== undefined && 'offset' in last ? last.offset : 0);
  await file.close();
  expect(value[0]).toBe(batches - 2);
});
