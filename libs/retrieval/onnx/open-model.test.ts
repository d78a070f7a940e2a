import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type FeatureModelOptions, writeFeatureModel } from '../fixtures/feature-model.ts';
import { picture } from '../fixtures/pictures.ts';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { type Model, openModel } from './open-model.ts';

async function opened(options: FeatureModelOptions = {}): Promise<Model> {
  const model = await openModel({ path: await writeFeatureModel(await temporaryFolder(), options), device: 'cpu', threads: 1 });
  onTestFinished(() => model.close());
  return model;
}

/** `count` pictures of side 8, one after the other. */
function images(count: number): Uint8Array {
  return picture(8, 8 * count).pixels;
}

test('the features of each image do not depend on the rest of its batch', async () => {
  const model = await opened();
  const alone = await model.run({ images: images(4).subarray(2 * 192, 3 * 192), batch: 1, imageSize: 8, rows: 1 });
  const together = await model.run({ images: images(4), batch: 4, imageSize: 8, rows: 4 });
  expect(together.subarray(12, 18)).toEqual(alone);
  expect(Math.hypot(...alone)).toBeCloseTo(1, 3);
});

test('the rows that pad a batch are left out', async () => {
  const model = await opened();
  const all = await model.run({ images: images(4), batch: 4, imageSize: 8, rows: 4 });
  const two = await model.run({ images: images(4), batch: 4, imageSize: 8, rows: 2 });
  expect(two).toEqual(all.subarray(0, 12));
});

test('float16 and float32 features are the same but for their rounding', async () => {
  const half = await (await opened({ outputType: 'float16' })).run({ images: images(1), batch: 1, imageSize: 8, rows: 1 });
  const single = await (await opened({ outputType: 'float32' })).run({ images: images(1), batch: 1, imageSize: 8, rows: 1 });
  expect([...half]).toEqual([...single].map(Math.f16round));
  expect([...half]).not.toEqual([...single]);
});

test('a network that computes in fp16 takes bytes and gives float32 close to those of fp32', async () => {
  const half = await opened({ computeType: 'float16', outputType: 'float32' });
  const single = await opened({ computeType: 'float32', outputType: 'float32' });
  const batch = { images: images(4), batch: 4, imageSize: 8, rows: 4 };
  const [a, b] = [await half.run(batch), await single.run(batch)];
  expect(a).toBeInstanceOf(Float32Array);
  expect(a).not.toEqual(b);
  for (let row = 0; row < 4; row++) {
    const cosine = a.subarray(row * 6, row * 6 + 6).reduce((sum, value, index) => sum + value * (b[row * 6 + index] as number), 0);
    expect(cosine).toBeGreaterThan(0.999);
  }
});

test('it has the length of its vectors, its fixed side and the placement of its nodes', async () => {
  const model = await opened({ dim: 5, batch: 3 });
  expect(model).toMatchObject({ embeddingDim: 5, imageSize: 8, batch: 3 });
  expect(model.placement).toContainEqual({ node: expect.stringContaining('MatMul'), op: 'MatMul', provider: 'CPUExecutionProvider' });
});

test('a batch or a side that the model does not take is named', async () => {
  const model = await opened({ batch: 3 });
  const message = 'takes 3 images of side 8, not 4 of side 8';
  await expect(model.run({ images: images(4), batch: 4, imageSize: 8, rows: 4 })).rejects.toThrow(message);
  await expect(model.run({ images: images(3), batch: 3, imageSize: 16, rows: 3 })).rejects.toMatchObject({ code: 'model_mismatch' });
});

test.each<[string, FeatureModelOptions, string]>([
  ['another input', { input: 'pictures' }, 'no single input `images` of type uint8, but inputs pictures uint8 [N, 8, 8, 3]'],
  ['an input of floats', { inputType: 'float32' }, 'no single input `images` of type uint8'],
  ['another output', { output: 'vectors' }, 'no output `features` of type float16 or float32'],
  ['four channels', { channels: 4 }, 'no input `images` of shape [N, H, H, 3]'],
])('a model with %s does not fit', async (_, options, message) => {
  await expect(opened(options)).rejects.toMatchObject({ code: 'model_mismatch', message: expect.stringContaining(message) });
});

test('a file that is not a model, and a missing one, are named', async () => {
  const path = join(await temporaryFolder(), 'broken.onnx');
  await expect(openModel({ path, device: 'cpu', threads: 1 })).rejects.toMatchObject({ code: 'model_mismatch' });
  await writeFile(path, 'no model');
  await expect(openModel({ path, device: 'cpu', threads: 1 })).rejects.toThrow(`cannot open the model ${path}`);
});

test('asked for a GPU, it does not fall back to the CPU', async () => {
  const path = await writeFeatureModel(await temporaryFolder());
  const outcome = await openModel({ path, device: 'cuda', threads: 1 }).then(
    (model) => model.placement.some(({ op, provider }) => op === 'MatMul' && provider === 'CUDAExecutionProvider'),
    (error: unknown) => error,
  );
  // Where there is a GPU the product runs on it; elsewhere the error says what is missing.
  if (outcome !== true) expect(outcome).toMatchObject({ code: 'invalid_configuration', message: expect.stringContaining('on cuda') });
});
