import { copyFileSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AloneJob } from '@cairn/contract';
import { openParquet } from '@cairn/retrieval';
import { openStore } from '@cairn/storage';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { aloneBroken, aloneImages, openAloneWorld, setWithoutTimes } from '../testing/alone.ts';
import { pngOf } from '../testing/images.ts';

vi.setConfig({ testTimeout: 300_000 });

let world: Awaited<ReturnType<typeof openAloneWorld>>;
beforeAll(async () => {
  world = await openAloneWorld();
});
afterAll(() => world.close());

async function listOf(name: string, ids: readonly string[]): Promise<string> {
  const path = join(world.folder, name);
  await writeFile(path, ids.map((id) => `${id}\n`).join(''));
  return path;
}

async function rejectedOf({ out }: AloneJob, shard: number): Promise<string[][]> {
  const path = join(world.folder, out.prefix, `rejected/rejected_${String(shard).padStart(5, '0')}.parquet`);
  const parquet = await openParquet();
  const table = await parquet.query({ path, sql: 'select image_id, reason from read_parquet($path)' });
  await parquet.close();
  const reasons = table.text('reason');
  return table.text('image_id').map((id, row) => [id, reasons[row] ?? '']);
}

/** The files of a set, but for the list that it was made with. */
async function filesOf(job: AloneJob) {
  const { files, ...set } = await setWithoutTimes(job);
  const details: Readonly<Record<string, unknown>> = set.details;
  return { files, rows: details.rows, rejected: details.rejected, countProof: details.countProof };
}

test('a grown list reads only its new images, and the set is the one that it would have been; a shorter list changes nothing', async () => {
  const { ids, jobOf, run, folder } = world;
  const job = jobOf('grown', {
    list: await listOf(
      'some.txt',
      ids.filter((_, index) => index % 5 !== 3),
    ),
  });
  const before = await run(job);
  expect(before.result).toMatchObject({ images: 19, rows: 18, rejected: 1 });
  const all = { ...job, list: join(folder, 'ids.txt') };
  const grown = await run(all);
  expect(grown.reads.toSorted()).toEqual(ids.filter((_, index) => index % 5 === 3).toSorted());
  expect(grown.result).toMatchObject({ images: aloneImages, rows: aloneImages - 1, rejected: 1 });
  const fresh = jobOf('fresh');
  await run(fresh);
  expect(await filesOf(all)).toEqual(await filesOf(fresh));
  // Complete now.
  expect((await run(all)).reads).toEqual([]);

  await expect(run(job)).rejects.toMatchObject({ code: 'name_taken', message: expect.stringMatching(/has 5 images that the list lacks/) });
  const part = await run({ ...job, out: { ...job.out, prefix: 'part' }, reuse: all.out });
  expect(part.reads).toEqual([]);
  expect(part.result).toMatchObject({ images: 19, rows: 18, rejected: 1 });
});

test('an image that was replaced is read again, and the shards before a new image stay as they are', async () => {
  const { ids, jobOf, run, folder } = world;
  const job = jobOf('changed', { list: await listOf('first.txt', ids.slice(8, 20)) });
  await run(job);
  const path = join(folder, 'images', `index/a/a/a/${ids[9]}.jpg`);
  const kept = await readFile(path);
  await writeFile(path, pngOf(99));
  const longer = await run({ ...job, list: await listOf('longer.txt', ids.slice(8, 22)) });
  await writeFile(path, kept);
  expect(longer.reads.toSorted()).toEqual([ids[9], ids[20], ids[21]].toSorted());
  // Two of four shards are the same files.
  expect(longer.events.find(({ type }) => type === 'planned')).toMatchObject({ shards: 4, done: 2 });
});

test('rejected images are read again, alone, and the set has the new ones and the new reasons', async () => {
  const { ids, jobOf, run, folder } = world;
  const job = jobOf('retried');
  const broken = join(folder, 'images', `index/a/a/a/${ids[aloneBroken]}.jpg`);
  const other = join(folder, 'images', `index/a/a/a/${ids[17]}.jpg`);
  const good = await readFile(other);
  await writeFile(other, '');
  expect((await run(job)).result).toMatchObject({ rejected: 2 });
  // One is repaired, the other is bad in another way.
  await writeFile(other, good);
  await writeFile(broken, '');
  const { reads, result } = await run({ ...job, retryRejected: true });
  await writeFile(broken, 'no image');
  expect(reads.toSorted()).toEqual([ids[aloneBroken], ids[17]].toSorted());
  expect(result).toMatchObject({ images: aloneImages, rows: aloneImages - 1, rejected: 1, resumed: 4 });
  expect(await rejectedOf(job, 1)).toEqual([[ids[aloneBroken], expect.stringMatching(/no bytes/)]]);
  expect(result.digest).toBe((await run(job)).result.digest);
});

test('a child that ends goes on behind its last batch, and an image that ends every child is rejected alone', async () => {
  const { ids, jobOf, run } = world;
  const whole = jobOf('one-shard', { shardRows: aloneImages, batch: 2 });
  await run(whole);
  const once = { ...whole, out: { ...whole.out, prefix: 'crashed' } };
  const crashed = await run(once, { CAIRN_TEST_CRASH: ids[20] ?? '' });
  const repeated = crashed.reads.length - new Set(crashed.reads).size;
  // At most the batches in hand: two images in use, and four ahead.
  expect(repeated).toBeLessThanOrEqual(7);
  expect(await filesOf(once)).toEqual(await filesOf(whole));

  const poisoned = { ...whole, out: { ...whole.out, prefix: 'poisoned' } };
  const { result, events } = await run(poisoned, { CAIRN_TEST_POISON: ids[12] ?? '' });
  expect(result).toMatchObject({ images: aloneImages, rows: aloneImages - 2, rejected: 2 });
  const rejected = new Map((await rejectedOf(poisoned, 0)).map(([id, reason]) => [id, reason]));
  expect(rejected.get(ids[12] ?? '')).toMatch(/crashes the decoder: alone in a process, which was killed by SIGKILL, 2 times/);
  expect(events.filter(({ type }) => type === 'note').map((event) => ('message' in event ? event.message : ''))).toContainEqual(
    expect.stringContaining(`the image ${ids[12]} is left out`),
  );
});

test('several models share one reading, each with its own set; other preprocessing is refused with both digests', async () => {
  const { folder, jobOf, run, ids } = world;
  const second = join(folder, 'second.onnx');
  copyFileSync(join(import.meta.dirname, '../testing/features.onnx'), second);
  const job = jobOf('both', { also: [{ model: second, prefix: 'both-second' }], devices: [null, null] });
  const { result, reads } = await run(job);
  expect(reads.toSorted()).toEqual(ids.toSorted());
  expect(result.also).toMatchObject([{ prefix: 'both-second', images: aloneImages, rows: aloneImages - 1, rejected: 1 }]);
  const alone = jobOf('of-first');
  await run(alone);
  expect(await filesOf({ ...job, out: { ...job.out, prefix: 'both-second' } })).toEqual(await filesOf(alone));
  // One of the two is there: only the other one is extracted.
  rmSync(join(folder, 'both-second'), { recursive: true });
  const again = await run(job);
  expect(again.reads.length).toBe(aloneImages);
  expect(again.result.also[0]?.digest).toBe(result.also[0]?.digest);
  const left = await Array.fromAsync(openStore(job.out.store).list('both'), ({ key }) => key);
  expect(left.filter((key) => key.includes('/parts/'))).toEqual([]);
});
