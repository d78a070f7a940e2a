import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AloneJob } from '@cairn/contract';
import { openParquet, readFeatures } from '@cairn/retrieval';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { aloneBroken, aloneImages, openAloneWorld } from '../testing/alone.ts';

vi.setConfig({ testTimeout: 60_000 });

let world: Awaited<ReturnType<typeof openAloneWorld>>;
beforeAll(async () => {
  world = await openAloneWorld();
});
afterAll(() => world.close());

test('an extraction has every id of its list once, says what it left out, and is not done twice or mixed with another', async () => {
  const { folder, ids, jobOf, run } = world;
  const job = jobOf('plain');
  const { result, events } = await run(job);
  expect(result).toMatchObject({ images: aloneImages, rows: aloneImages - 1, rejected: 1, shards: 6, resumed: 0 });
  expect(events.find((event) => event.type === 'note')).toMatchObject({ message: expect.stringContaining(ids[aloneBroken] ?? '') });
  const parquet = await openParquet();
  const features = await readFeatures(join(folder, 'plain'), parquet);
  await parquet.close();
  expect([...features.ids]).toEqual(ids.filter((_, index) => index !== aloneBroken));
  const again = await run(job);
  expect(again.events).toEqual([]);
  expect(again.result).toEqual({ ...result, resumed: 6 });
  const other = run(jobOf('plain', { preprocessing: 'reference' }));
  await expect(other).rejects.toMatchObject({
    code: 'name_taken',
    message: expect.stringMatching(/of the extraction [0-9a-f]{64}; this one is [0-9a-f]{64}/),
  });
});

test.each<[string, () => Promise<Partial<AloneJob>>, string, RegExp]>([
  ['a folder of other files in --out', async () => ({ out: { ...world.jobOf('').out, prefix: 'images' } }), 'name_taken', /not empty/],
  ['a model that is none', async () => ({ model: await fileOf('no model') }), 'model_mismatch', /is not an ONNX file/],
  ['a model without metadata', async () => ({ imageSize: null }), 'model_mismatch', /add --image-size/],
  ['a model of another size', async () => ({ imageSize: 16 }), 'model_mismatch', /takes .* images of side 8, not/],
  ['a list that is not there', async () => ({ list: '/nowhere/none.txt' }), 'missing_file', /none.txt does not exist/],
  [
    'an --out that cannot be written',
    async () => ({ out: { store: pathToFileURL(join(world.folder, 'ids.txt')).href, prefix: 'set' } }),
    'storage_failed',
    /ids.txt/,
  ],
])('%s is one clear error before anything is extracted', async (_, change, code, message) => {
  const { jobOf, run } = world;
  await expect(run(jobOf('elsewhere', await change()))).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});

async function fileOf(text: string): Promise<string> {
  const path = join(world.folder, 'broken.onnx');
  await writeFile(path, text);
  return path;
}
