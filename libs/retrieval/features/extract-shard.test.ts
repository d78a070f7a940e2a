import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { type FeatureModelOptions, writeFeatureModel } from '../fixtures/feature-model.ts';
import { jpegOf, picture, pngOf } from '../fixtures/pictures.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { createDecodePool, type DecodePoolOptions } from '../image/decode-pool.ts';
import { preprocessImage } from '../image/preprocess-image.ts';
import { type Model, openModel } from '../onnx/open-model.ts';
import {
  type ExtractShardOptions,
  extractShard as extractSets,
  type ShardProgress,
  type ShardResult,
  type ShardSet,
} from './extract-shard.ts';
import type { ImageRow } from './image-queue.ts';
import type { KnownRow } from './known-rows.ts';
import { normalizeRow } from './normalize-row.ts';
import { readFeatures } from './read-features.ts';
import { openJournal } from './shard-journal.ts';

/** A file's content, or what reading it throws. */
type Content = Buffer | Error;
type Shard = Omit<ExtractShardOptions<ImageRow>, 'sets'> & ShardSet;

/** With one model. */
async function extractShard({ model, outDir, known, journal, ...options }: Shard): Promise<ShardResult> {
  const [result] = await extractSets({ ...options, sets: [{ model, outDir, known, journal }] });
  if (result === undefined) throw new Error('no result');
  return result;
}

async function openTestModel(options: FeatureModelOptions = {}): Promise<Model> {
  const model = await openModel({ path: await writeFeatureModel(await temporaryFolder(), options), device: 'cpu', threads: 1 });
  onTestFinished(() => model.close());
  return model;
}

const decoder = createDecodePool({ threads: 2, imageSize: 8, preprocessing: 'cairn' });
afterAll(() => decoder.close());

/** Another decoder than the one of all tests. */
function openDecoder(options: Partial<DecodePoolOptions>): Shard['decoder'] {
  const own = createDecodePool({ threads: 1, imageSize: 8, preprocessing: 'cairn', ...options });
  onTestFinished(() => own.close());
  return own;
}

/** A shard of these files, in batches of 4. */
async function shardOf(contents: readonly Content[], options: Partial<Shard> = {}): Promise<Shard> {
  return {
    model: await openTestModel(),
    parquet: await testParquet(),
    rows: contents.map((_, index) => ({ imageId: `id${index}`, path: `${index}.jpg` })),
    read: async ({ path }) => {
      const content = contents[Number.parseInt(path, 10)];
      if (content instanceof Buffer) return content;
      throw content;
    },
    decoder,
    batch: 4,
    outDir: await temporaryFolder(),
    part: 42,
    ...options,
  };
}

function pictures(count: number): Promise<Buffer[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => jpegOf(picture(20 + index, 30, index))));
}

async function rejectedOf({ parquet, outDir }: Shard): Promise<string[][]> {
  const sql = 'select * from read_parquet($path)';
  const table = await parquet.query({ path: join(outDir, 'rejected/rejected_00042.parquet'), sql });
  const [ids, paths, reasons] = [table.text('image_id'), table.text('path'), table.text('reason')];
  return ids.map((id, row) => [id, paths[row] ?? '', reasons[row] ?? '']);
}

async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.flatMap((entry) => (entry.isFile() ? [join(entry.parentPath, entry.name).slice(folder.length + 1)] : [])).sort();
}

describe('the features', () => {
  test('are those of each image alone, in the order of the rows, whatever the batch', async () => {
    const contents = await pictures(11);
    const shard = await shardOf(contents);
    const { model } = shard;
    expect(await extractShard(shard)).toMatchObject({ part: 42, rows: 11, rejected: 0, dim: 6 });

    const features = await readFeatures(shard.outDir, shard.parquet);
    expect([...features.ids]).toEqual(shard.rows.map((row) => row.imageId));
    const rows = await features.read(0, 11);
    for (const [index, content] of contents.entries()) {
      const images = await preprocessImage(content, { size: 8, preprocessing: 'cairn', timeoutMs: 10_000 });
      const expected = new Float16Array(6);
      normalizeRow(await model.run({ images, batch: 1, imageSize: 8, rows: 1 }), expected);
      expect([...rows.subarray(index * 6, (index + 1) * 6)]).toEqual([...expected]);
    }
  });

  test('are the same bytes when the shard is extracted again with another batch', async () => {
    const contents = await pictures(7);
    const [first, second] = [await shardOf(contents), await shardOf(contents, { batch: 3, decoder: openDecoder({}) })];
    const digests = async (shard: Shard) => (await extractShard(shard)).files.map((file) => [file.name, file.sha256]);
    expect(await digests(second)).toEqual(await digests(first));
  });

  test('follow the preprocessing that is asked', async () => {
    const contents = await pictures(2);
    const [cairn, reference] = [await shardOf(contents), await shardOf(contents, { decoder: openDecoder({ preprocessing: 'reference' }) })];
    const [a, b] = [await extractShard(cairn), await extractShard(reference)];
    expect(a.files[0]?.sha256).not.toBe(b.files[0]?.sha256);
  });
});

test('its files have the reported names, sizes and digests, and there are no others', async () => {
  const shard = await shardOf(await pictures(3));
  const { files, idsSha256 } = await extractShard(shard);
  expect(files.map((file) => file.name)).toEqual(['img_emb/img_emb_00042.npy', 'metadata/metadata_00042.parquet']);
  expect(idsSha256).toBe(createHash('sha256').update('id0\nid1\nid2\n').digest('hex'));
  for (const file of files) {
    const bytes = await readFile(file.path);
    expect(file).toMatchObject({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
  }
  expect(await filesUnder(shard.outDir)).toEqual(files.map((file) => file.name));
});

describe('an image that cannot be used', () => {
  test('is left out with its reason: truncated, no image, missing, refused by its source, black', async () => {
    const [good, cut, last] = await pictures(3);
    const black = await pngOf({ pixels: new Uint8Array(8 * 8 * 3), width: 8, height: 8 });
    const missing = Object.assign(new Error("ENOENT: no such file or directory, open '3.jpg'"), { code: 'ENOENT' });
    const outOfTar = new CairnError('missing_file', 'images_000.tar ends before 4.jpg', { details: { reason: 'truncated' } });
    const shard = await shardOf([
      good as Buffer,
      (cut as Buffer).subarray(0, 500),
      Buffer.from('<html>'),
      missing,
      outOfTar,
      black,
      last as Buffer,
    ]);
    expect(await extractShard(shard)).toMatchObject({ rows: 2, rejected: 5 });
    const features = await readFeatures(shard.outDir, shard.parquet);
    expect([...features.ids]).toEqual(['id0', 'id6']);
    const withoutThem = await shardOf([good as Buffer, last as Buffer]);
    await extractShard(withoutThem);
    expect(await features.read(0, 2)).toEqual(await (await readFeatures(withoutThem.outDir, withoutThem.parquet)).read(0, 2));
    const rejected = await rejectedOf(shard);
    expect(rejected.map(([id, path]) => [id, path]).sort()).toEqual(['1', '2', '3', '4', '5'].map((n) => [`id${n}`, `${n}.jpg`]));
    const reasons = new Map(rejected.map(([id, , reason]) => [id, reason]));
    expect(reasons.get('id1')).toMatch(/premature end|truncated/i);
    expect(reasons.get('id2')).toContain('not a JPEG');
    expect(reasons.get('id3')).toContain('no such file');
    expect(reasons.get('id4')).toBe('images_000.tar ends before 4.jpg');
    expect(reasons.get('id5')).toBe('the model returns a feature that is zero or not finite');
  });

  test('leaves a shard of which nothing is left whole, with 0 rows', async () => {
    const shard = await shardOf([Buffer.from('no'), Buffer.from('image')]);
    expect(await extractShard(shard)).toMatchObject({ rows: 0, rejected: 2 });
    expect(await readFeatures(shard.outDir, shard.parquet)).toMatchObject({ dim: 6, ids: { length: 0 } });
    expect(await filesUnder(shard.outDir)).toHaveLength(3);
  });
});

describe('a shard goes on', () => {
  const of = { extraction: 'this one', part: 42, dim: 6 };
  const digestsOf = ({ files }: ShardResult) => files.map((file) => [file.name, file.sha256]);

  test('behind the last batch in its journal, to the same files, whatever ended it and however the journal was cut', async () => {
    const contents: Content[] = await pictures(11);
    contents[2] = Buffer.from('no image');
    const whole = await extractShard(await shardOf(contents));
    const path = join(await temporaryFolder(), 'journal');
    let reads: string[] = [];
    const shardFrom = async (limit: number): Promise<Shard> => {
      const { journal, known } = await openJournal(path, of);
      const shard = await shardOf(contents, { journal, known });
      return {
        ...shard,
        async read(row, signal) {
          reads.push(row.imageId);
          if (Number.parseInt(row.path, 10) >= limit) throw new CairnError('storage_failed', 'the machine is gone');
          return shard.read(row, signal);
        },
      };
    };
    await expect(extractShard(await shardFrom(9))).rejects.toMatchObject({ code: 'storage_failed' });
    expect((await openJournal(path, of)).known.size).toBe(7);
    // The end of the last record is lost.
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, -3));
    expect((await openJournal(path, of)).known.size).toBe(3);
    reads = [];
    expect(digestsOf(await extractShard(await shardFrom(11)))).toEqual(digestsOf(whole));
    // What was rejected is read again: the machine may have been at fault.
    expect(reads).toEqual(['id2', 'id4', 'id5', 'id6', 'id7', 'id8', 'id9', 'id10']);
    expect((await openJournal(path, { ...of, extraction: 'another one' })).known.size).toBe(0);
    bytes[60] = (bytes[60] ?? 0) ^ 1;
    await writeFile(path, bytes);
    expect((await openJournal(path, of)).known.size).toBe(0);
  });

  test('with what another set has of its images, in the order of its rows', async () => {
    const contents = await pictures(7);
    const whole = await shardOf(contents);
    const { files } = await extractShard(whole);
    const path = join(whole.outDir, files[0]?.name ?? '');
    // Rows 1, 2 and 5 are known, and that 3 cannot be read.
    const known = new Map<string, KnownRow>([1, 2, 5].map((row) => [`id${row}`, { path, offset: 128 + row * 12 }]));
    const shard = await shardOf(contents, { known: known.set('id3', { reason: 'it was so' }) });
    const reads: string[] = [];
    const read: Shard['read'] = (row, signal) => {
      reads.push(row.imageId);
      return shard.read(row, signal);
    };
    expect(await extractShard({ ...shard, read })).toMatchObject({ rows: 6, rejected: 1 });
    expect(reads).toEqual(['id0', 'id4', 'id6']);
    expect(await rejectedOf(shard)).toEqual([['id3', '3.jpg', 'it was so']]);
    const [a, b] = [await readFeatures(whole.outDir, whole.parquet), await readFeatures(shard.outDir, shard.parquet)];
    const rows = await a.read(0, 7);
    expect(await b.read(0, 6)).toEqual(Float32Array.from(rows.filter((_, at) => Math.floor(at / 6) !== 3)));
  });

  test('image by image, and says before each which it is', async () => {
    const shard = await shardOf(await pictures(5));
    const seen: string[] = [];
    const read: Shard['read'] = (row, signal) => {
      // None is read ahead.
      expect(seen.at(-1)).toBe(row.imageId);
      return shard.read(row, signal);
    };
    const result = await extractShard({ ...shard, read, onImage: (imageId) => void seen.push(imageId) });
    expect(seen).toEqual(['id0', 'id1', 'id2', 'id3', 'id4']);
    expect(digestsOf(result)).toEqual(digestsOf(await extractShard(await shardOf(await pictures(5)))));
  });
});

test('several models read and decode each image once, and each has the files that it would have alone', async () => {
  const contents = await pictures(6);
  const [first, second] = [await shardOf(contents), await shardOf(contents, { model: await openTestModel({ dim: 9 }) })];
  let reads = 0;
  const results = await extractSets({
    ...first,
    sets: [first, second].map(({ model }, set) => ({ model, outDir: join(first.outDir, String(set)) })),
    read: (row, signal) => {
      reads += 1;
      return first.read(row, signal);
    },
  });
  expect(reads).toBe(6);
  expect(results.map(({ dim }) => dim)).toEqual([6, 9]);
  for (const [set, shard] of [first, second].entries())
    expect(results[set]?.files.map(({ sha256 }) => sha256)).toEqual((await extractShard(shard)).files.map(({ sha256 }) => sha256));
});

describe('a shard that fails leaves no file', () => {
  async function failureOf(shard: Shard): Promise<unknown> {
    const failure = await extractShard(shard).catch((error: unknown) => error);
    expect(await filesUnder(shard.outDir)).toEqual([]);
    return failure;
  }

  test('when the storage fails, which is not the fault of the image', async () => {
    const [good] = await pictures(1);
    const broken = new CairnError('storage_failed', 'the bucket does not answer');
    const shard = await shardOf([good as Buffer, broken]);
    const told = new Set<string>();
    const read: Shard['read'] = (row, signal) => {
      if (row.path !== '2.jpg') return shard.read(row, signal);
      return new Promise(() => signal.addEventListener('abort', () => told.add(row.path)));
    };
    const rows = [0, 1, 2].map((index) => ({ imageId: `id${index}`, path: `${index}.jpg` }));
    expect(await failureOf({ ...shard, rows, read })).toBe(broken);
    expect([...told]).toEqual(['2.jpg']);
  });

  test('when reading an image does not end', async () => {
    const shard = await shardOf(await pictures(2), { read: () => new Promise(() => undefined), readTimeoutMs: 20 });
    expect(await failureOf(shard)).toMatchObject({ code: 'storage_failed', message: 'Reading 0.jpg (image id0) took longer than 0.02 s' });
  });

  test('when the decoder hangs, which several slow images mean', async () => {
    // Of a size that no decoder is done with in a millisecond.
    const large = await jpegOf(picture(3000, 3000));
    const shard = await shardOf(
      Array.from({ length: 8 }, () => large),
      { decoder: openDecoder({ timeoutMs: 1 }) },
    );
    const names = Array.from({ length: 4 }, () => '\\d\\.jpg \\(image id\\d\\)').join(', ');
    const message = expect.stringMatching(new RegExp(`^4 images took longer than 0.001 s to decode, ${names}: the decoder hangs`));
    expect(await failureOf(shard)).toMatchObject({ code: 'program_failed', message });
  });

  test('when the decoder runs out of memory or its thread ends, which says at which image', async () => {
    const decoder = openDecoder({});
    const failing = {
      ...decoder,
      preprocess: () => Promise.reject(new CairnError('program_failed', 'Out of memory while decoding an image')),
    };
    const message = 'Out of memory while decoding an image; at that time it decoded 0.jpg (image id0)';
    expect(await failureOf(await shardOf(await pictures(2), { decoder: failing }))).toMatchObject({ code: 'program_failed', message });
    await decoder.close();
    expect(await failureOf(await shardOf(await pictures(2), { decoder }))).toMatchObject({ message: 'The decoder is closed' });
  });

  test('when it is aborted, with the abort reason, and pending reads are aborted', async () => {
    const controller = new AbortController();
    const reason = new CairnError('superseded', 'another attempt has the shard');
    const contents = await pictures(3);
    const told = new Set<string>();
    const shard = await shardOf(contents, {
      signal: controller.signal,
      read: ({ path }, signal) =>
        new Promise(() => {
          signal.addEventListener('abort', () => told.add(path));
          if (path === '2.jpg') controller.abort(reason);
        }),
    });
    expect(await failureOf(shard)).toBe(reason);
    expect([...told]).toContain('0.jpg');
  });

  test('when the model does not take the batch', async () => {
    const shard = await shardOf(await pictures(5), { model: await openTestModel({ batch: 2 }) });
    expect(await failureOf(shard)).toMatchObject({ code: 'model_mismatch' });
  });

  test('when an id is twice in its rows', async () => {
    const contents = await pictures(2);
    const shard = await shardOf(contents, { rows: [0, 1].map((index) => ({ imageId: 'same', path: `${index}.jpg` })) });
    expect(await failureOf(shard)).toMatchObject({ message: 'Image same occurs twice in the rows of shard 42' });
  });

  test('and one that was there before stays', async () => {
    const shard = await shardOf(await pictures(2));
    const { files } = await extractShard(shard);
    await extractShard({ ...shard, signal: AbortSignal.abort(new Error('stop')) }).catch(() => undefined);
    expect(await filesUnder(shard.outDir)).toEqual(files.map((file) => file.name));
  });
});

test('progress counts rows and rejected images up to all of them', async () => {
  const [a, b, c, d, e] = await pictures(5);
  const seen: ShardProgress[] = [];
  await extractShard(
    await shardOf([a, Buffer.from('x'), b, c, d, e] as Buffer[], { batch: 2, onProgress: (progress) => seen.push({ ...progress }) }),
  );
  expect(seen).toEqual([
    { rows: 1, rejected: 1, total: 6 },
    { rows: 3, rejected: 1, total: 6 },
    { rows: 5, rejected: 1, total: 6 },
  ]);
});

test('before the model runs on a batch, the next one is read: its decoding needs no event loop', async () => {
  const contents = await pictures(12);
  const shard = await shardOf(contents);
  let read = 0;
  const readAtRun: number[] = [];
  const model: Model = {
    ...shard.model,
    run: (batch) => {
      readAtRun.push(read);
      return shard.model.run(batch);
    },
  };
  await extractShard({
    ...shard,
    model,
    read: async (row, signal) => {
      const content = await shard.read(row, signal);
      // Reading takes some turns of the event loop, more for each image than for the one before.
      for (let turn = 0; turn < 5 * Number.parseInt(row.path, 10); turn++) await new Promise(setImmediate);
      read += 1;
      return content;
    },
  });
  expect(readAtRun.map((count, run) => count >= Math.min(12, 4 * (run + 2)))).toEqual([true, true, true]);
});

test('no image is read before there is a slot for it, and the pixels of a batch stay until the model is done with it', async () => {
  const shard = await shardOf(await pictures(13), { batch: 2 });
  let read = 0;
  let run = 0;
  const model: Model = {
    ...shard.model,
    async run(input) {
      const pixels = input.images.slice();
      // Long enough for images that were started too early to be decoded.
      for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate);
      expect(input.images).toEqual(pixels);
      // Three batches have slots: this one and the two after it.
      run += 1;
      expect(read).toBe(Math.min(13, 2 * (run + 2)));
      return shard.model.run(input);
    },
  };
  await extractShard({
    ...shard,
    model,
    read: (row, signal) => {
      read += 1;
      return shard.read(row, signal);
    },
  });
  expect(run).toBe(7);
});

test('files under the read images may be local ones', async () => {
  const folder = await temporaryFolder();
  await Promise.all((await pictures(3)).map((bytes, index) => writeFile(join(folder, `${index}.jpg`), bytes)));
  const shard = await shardOf([], {
    rows: [0, 1, 2, 3].map((index) => ({ imageId: `id${index}`, path: `${index}.jpg` })),
    read: ({ path }, signal) => readFile(join(folder, path), { signal }),
  });
  expect(await extractShard(shard)).toMatchObject({ rows: 3, rejected: 1 });
  expect((await rejectedOf(shard))[0]?.[2]).toContain('no such file');
});

test('the phases add up to the time it took', async () => {
  const { seconds } = await extractShard(await shardOf(await pictures(9)));
  const { read, decode, infer, write, total } = seconds;
  for (const phase of [read, decode, infer, write]) expect(phase).toBeGreaterThanOrEqual(0);
  expect(infer).toBeGreaterThan(0);
  expect(read + decode + infer + write).toBeLessThanOrEqual(total);
});
