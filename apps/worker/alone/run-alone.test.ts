import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AloneJob } from '@cairn/contract';
import { openParquet, readFeatures } from '@cairn/retrieval';
import { type FeatureModelOptions, writeFeatureModel } from '@cairn/retrieval/fixtures';
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
  ['a model with another output', async () => ({ model: await modelOf({ output: 'vectors' }) }), 'model_mismatch', /no output `features`/],
  [
    'a model with another input',
    async () => ({ model: await modelOf({ inputType: 'float32' }) }),
    'model_mismatch',
    /`images` of type uint8/,
  ],
  ['an empty list', async () => ({ list: await fileOf('\n') }), 'empty_list', /has no ids/],
  [
    'an id that the source lacks',
    async () => ({ list: await fileOf(`${world.ids[0]}\nffff1\n`) }),
    'bad_row',
    /line 2: .* has no image ffff1 in train\/, index\/ or test\//,
  ],
  ['a source that is not there', async () => ({ source: { kind: 'folder', root: '/nowhere' } }), 'storage_failed', /\/nowhere/],
  [
    'an --out where nobody can write',
    async () => ({ out: { store: 'file:///sys', prefix: 'set' } }),
    'storage_failed',
    /Writing set\/parts\/probe in \/sys/,
  ],
  [
    'an --out that has no folders',
    async () => ({ out: { store: 'file:///proc', prefix: 'set' } }),
    'storage_failed',
    /Writing set\/parts\/probe in \/proc/,
  ],
  [
    'a --reuse that is not there',
    async () => ({ reuse: { ...world.jobOf('').out, prefix: 'none' } }),
    'missing_file',
    /--reuse: .* has no complete feature set in none/,
  ],
  [
    'two models with one place',
    async () => ({ also: [{ model: world.jobOf('').model, prefix: 'elsewhere' }] }),
    'invalid_request',
    /Two models have their features in elsewhere/,
  ],
  [
    'an --also with another preprocessing',
    async () => ({ ...(await toldModels()), imageSize: null, preprocessing: null }),
    'model_mismatch',
    /told-cairn.onnx \(sha256 [0-9a-f]{64}\) takes images of side 8 with the preprocessing cairn, .*told-reference.onnx \(sha256 [0-9a-f]{64}\)/,
  ],
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

async function modelOf(options: FeatureModelOptions): Promise<string> {
  const folder = await mkdtemp(join(world.folder, 'model-'));
  return writeFeatureModel(folder, { imageSize: 8, ...options });
}

/** Two models that tell how they take images, each another way, as the export writes it. */
async function toldModels(): Promise<Pick<AloneJob, 'model' | 'also'>> {
  const bytes = await readFile(world.jobOf('').model);
  const [model = '', other = ''] = await Promise.all(
    (['cairn', 'reference'] as const).map(async (name) => {
      const path = join(world.folder, `told-${name}.onnx`);
      await writeFile(path, Buffer.concat([bytes, property('cairn.imageSize', '8'), property('cairn.preprocessing', name)]));
      return path;
    }),
  );
  return { model, also: [{ model: other, prefix: 'elsewhere-told' }] };
}

/** An entry of ModelProto.metadata_props (field 14): a key (field 1) and its value (field 2). */
function property(key: string, value: string): Buffer {
  const field = (number: number, bytes: Buffer) => Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
  return field(14, Buffer.concat([field(1, Buffer.from(key)), field(2, Buffer.from(value))]));
}

async function fileOf(text: string): Promise<string> {
  const path = join(world.folder, 'broken.onnx');
  await writeFile(path, text);
  return path;
}
