import { createHash } from 'node:crypto';
import { mkdir, mkdtempDisposable, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { checkDataset, imagePath, openImageReader, prepareLists, readList } from '@cairn/dataset';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeMiniDataset } from './make-mini-dataset.ts';
import { planMiniDataset } from './plan.ts';
import { fewImages } from './testing/few-images.ts';

// Four landmarks, of which two are twins, and enough strays for each kind of broken file.
const few = fewImages({ cleanLandmarks: 4, twins: 1, cleanImages: [3, 4], strays: 8, scoredQueries: 6 });

const testFolder = () => mkdtempDisposable(join(tmpdir(), 'cairn-mini-'));

/** SHA-256 of every file below a folder, by path. */
async function sumsOf(root: string): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    sums[relative(root, path)] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  return sums;
}

describe('a mini dataset', () => {
  test('has the same bytes for the same seed however many images are drawn at a time, and others for another seed', async () => {
    await using folder = await testFolder();
    const make = (name: string, seed: number, concurrency: number) =>
      makeMiniDataset({ out: join(folder.path, name), seed, concurrency, counts: few });
    const [one, four, other] = [await make('one', 5, 1), await make('four', 5, 4), await make('other', 6, 4)];
    expect(await sumsOf(join(folder.path, 'four'))).toEqual(await sumsOf(join(folder.path, 'one')));
    expect(four).toEqual(one);
    expect(other.digest).not.toBe(one.digest);
    const pictures = new Set(Object.values(await sumsOf(join(folder.path, 'one/images/index'))));
    const shared = Object.values(await sumsOf(join(folder.path, 'other/images/index'))).filter((sum) => pictures.has(sum));
    // Only the empty file and the one that is not an image are the same for all seeds.
    expect(shared).toHaveLength(2);
    expect(await readdir(folder.path)).toEqual(['four', 'one', 'other']);
  });

  test('is returned at once when it is there, and made again when a file is gone', async () => {
    await using folder = await testFolder();
    const out = join(folder.path, 'mini');
    const calls: number[] = [];
    const make = () => makeMiniDataset({ out, seed: 1, counts: few, onProgress: ({ done }) => calls.push(done) });
    const manifest = await make();
    const total = manifest.counts.train + manifest.counts.index + manifest.counts.test;
    expect(calls.toSorted((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, i) => i + 1));
    const { mtimeMs } = await stat(join(out, 'dataset.json'));
    calls.length = 0;
    expect(await make()).toEqual(manifest);
    expect(calls).toEqual([]);
    expect((await stat(join(out, 'dataset.json'))).mtimeMs).toBe(mtimeMs);
    await rm(join(out, 'metadata/index.csv'));
    expect(await make()).toEqual(manifest);
    expect(calls).toHaveLength(total);
    expect((await stat(join(out, 'metadata/index.csv'))).size).toBeGreaterThan(0);
    expect(await readdir(folder.path)).toEqual(['mini']);
  });

  test('is not written over other files, another seed or a file', async () => {
    await using folder = await testFolder();
    const out = join(folder.path, 'mini');
    await mkdir(out);
    await writeFile(join(out, 'thesis.txt'), 'years of work');
    await expect(makeMiniDataset({ out, seed: 1, counts: few })).rejects.toMatchObject({
      code: 'name_taken',
      message: expect.stringContaining('contains other files'),
    });
    await rm(out, { recursive: true });
    await makeMiniDataset({ out, seed: 1, counts: few });
    await expect(makeMiniDataset({ out, seed: 2, counts: few })).rejects.toThrow(/a mini dataset of seed 1/);
    await writeFile(join(folder.path, 'file'), '');
    await expect(makeMiniDataset({ out: join(folder.path, 'file'), seed: 1, counts: few })).rejects.toMatchObject({ code: 'name_taken' });
  });

  test('leaves nothing behind when it is stopped', async () => {
    await using folder = await testFolder();
    const stop = new AbortController();
    const onProgress = ({ done }: { done: number }): void => {
      if (done === 5) stop.abort(new Error('enough'));
    };
    const making = makeMiniDataset({ out: join(folder.path, 'mini'), seed: 1, counts: few, onProgress, signal: stop.signal });
    await expect(making).rejects.toThrow('enough');
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe('the files of a mini dataset', () => {
  let root: string;
  const seed = 3;
  beforeAll(async () => {
    const folder = await testFolder();
    root = join(folder.path, 'mini');
    await makeMiniDataset({ out: root, seed, counts: few });
    return () => folder[Symbol.asyncDispose]();
  });
  const plan = planMiniDataset(seed, few);

  test('pass the check of a collection, and make every list from folders and from tars alike', async () => {
    const lists = ['clean', 'c2x', 'full', 'index_train', 'test', 'all', 'query', 'index'] as const;
    const common = { metadata: join(root, 'metadata'), countries: join(root, 'countries'), lists };
    const folderSource = { kind: 'folder', root: join(root, 'images') } as const;
    await checkDataset({ ...common, images: folderSource, roots: null });
    await using out = await testFolder();
    const fromFolder = await prepareLists({ ...common, images: folderSource, testSeed: 0, out: join(out.path, 'folder') });
    const fromTars = await prepareLists({
      ...common,
      images: { kind: 'tars', root: join(root, 'tars') },
      testSeed: 0,
      out: join(out.path, 'tars'),
    });
    for (const list of lists) {
      const [a, b] = [fromFolder.lists[list], fromTars.lists[list]];
      expect(b).toMatchObject({ rows: a?.rows, labels: a?.labels, classes: a?.classes, missingImages: 0 });
    }
    const folder = await openImageReader(join(root, 'images'), null);
    const tars = await openImageReader(join(root, 'tars'), null);
    const broken = new Set(plan.images.filter((image) => image.fault === 'empty').map((image) => image.id));
    for await (const rows of readList(join(out.path, 'tars/lists/all.parquet'))) {
      for (const row of rows) {
        if (broken.has(row.imageId)) continue;
        expect(row.continent === null).toBe(row.label === -1);
        expect(await tars.read(row)).toEqual(await folder.read({ path: row.path }));
      }
    }
    await Promise.all([folder.close(), tars.close()]);
  });

  test('are JPEG pictures of 128 to 160 pixels but for the broken ones', async () => {
    const faults: string[] = [];
    for (const { split, id, fault } of plan.images) {
      const path = join(root, 'images', imagePath(split, id));
      const decoded = await sharp(path, { failOn: 'truncated' })
        .raw()
        .toBuffer({ resolveWithObject: true })
        .catch(() => null);
      if (fault) faults.push(fault);
      if (fault) {
        expect(decoded).toBeNull();
        continue;
      }
      const side = Math.max(decoded?.info.width ?? 0, decoded?.info.height ?? 0);
      expect(side).toBeGreaterThanOrEqual(128);
      expect(side).toBeLessThanOrEqual(160);
    }
    expect(faults.toSorted()).toEqual(['empty', 'empty', 'notAnImage', 'notAnImage', 'truncated', 'truncated']);
  });
});
