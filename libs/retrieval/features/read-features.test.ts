import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { readFeatures } from './read-features.ts';

const all = randomFeatures(10, 4);
const part = (number: number, from: number, to: number) => ({
  part: number,
  ids: imageIds(10).slice(from, to),
  features: all.slice(from * 4, to * 4),
});

let parquet: Parquet;
let dir: string;
beforeEach(async () => {
  parquet = await testParquet();
  dir = await temporaryFolder();
});

test('parts follow each other by their numbers, gaps and empty parts included', async () => {
  await writeParts(parquet, dir, 4, [part(100_000, 7, 10), part(3, 2, 7), part(0, 0, 2), part(20, 7, 7)]);
  const features = await readFeatures(dir, parquet);
  expect([features.dim, ...features.ids]).toEqual([4, ...imageIds(10)]);
  expect(features.parts.map(({ part: number, firstRow }) => [number, firstRow])).toEqual([
    [0, 0],
    [3, 2],
    [20, 7],
    [100_000, 7],
  ]);
});

test('rows are read across parts, and up to the end', async () => {
  await writeParts(parquet, dir, 4, [part(0, 0, 2), part(1, 2, 7), part(2, 7, 10)]);
  const features = await readFeatures(dir, parquet);
  const expected = new Float32Array(all);
  for (const [first, count] of [
    [0, 10],
    [1, 7],
    [3, 2],
    [8, 50],
    [10, 5],
  ] as const) {
    expect(await features.read(first, count)).toEqual(expected.slice(first * 4, Math.min(10, first + count) * 4));
  }
});

describe('an incomplete feature set is rejected', () => {
  async function failureOf(...parts: Parameters<typeof writeParts>[3]): Promise<string> {
    if (parts.length > 0) await writeParts(parquet, dir, 4, parts);
    const failure = await readFeatures(dir, parquet).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'corrupt_artifact', message: expect.stringContaining(dir) });
    return failure instanceof Error ? failure.message : '';
  }

  test('without its folders', async () => {
    expect(await failureOf()).toContain('has no folder img_emb');
  });

  test('without parts', async () => {
    await mkdir(join(dir, 'img_emb'));
    await mkdir(join(dir, 'metadata'));
    expect(await failureOf()).toContain('img_emb has no parts');
  });

  test('with a part of which one file is missing', async () => {
    await writeParts(parquet, dir, 4, [part(0, 0, 2), part(1, 2, 4)]);
    await rm(join(dir, 'metadata/metadata_00001.parquet'));
    expect(await failureOf()).toContain('img_emb/img_emb_00001.npy exists without metadata/metadata_00001.parquet');
    await rm(join(dir, 'img_emb/img_emb_00000.npy'));
    await rm(join(dir, 'img_emb/img_emb_00001.npy'));
    expect(await failureOf()).toContain('metadata/metadata_00000.parquet exists without img_emb/img_emb_00000.npy');
  });

  test('with a file that is not a part', async () => {
    await writeParts(parquet, dir, 4, [part(0, 0, 2)]);
    await writeFile(join(dir, 'img_emb', 'img_emb_1.npy'), '');
    expect(await failureOf()).toContain('img_emb contains img_emb_1.npy, which is not part');
  });

  test('with fewer ids than rows', async () => {
    expect(await failureOf({ ...part(0, 0, 3), ids: ['i0', 'i1'] })).toContain(
      'img_emb_00000.npy has 3 rows, metadata/metadata_00000.parquet 2',
    );
  });

  test('with vectors of two lengths', async () => {
    await writeParts(parquet, dir, 4, [part(0, 0, 2)]);
    await writeParts(parquet, dir, 8, [{ part: 1, ids: ['a'], features: randomFeatures(1, 8) }]);
    expect(await failureOf()).toMatch(/img_emb_00001\.npy has vectors of 8 values, .*img_emb_00000\.npy of 4/);
  });

  test('with an id in two parts', async () => {
    expect(await failureOf(part(0, 0, 4), part(1, 3, 6))).toContain('has 1 ids more than once, such as i3');
  });
});
