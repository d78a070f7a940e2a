import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { CategoryQuotes, ListName } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { fileDigest } from '../digests.ts';
import type { HandMadeFiles } from '../testing/hand-made-collection.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { type GroundTruthRow, type ListRow, type ListsManifest, readGroundTruth, readList } from './manifest.ts';
import { prepareLists } from './prepare-lists.ts';

type Prepared = { manifest: ListsManifest; rows: (list: ListName) => Promise<ListRow[]>; truth: () => Promise<GroundTruthRow[]> };

/** Makes lists of the hand-made collection, with some files replaced, inside `root`. */
async function prepare(
  root: string,
  lists: ListName[],
  options: { files?: HandMadeFiles; countries?: HandMadeFiles; testSeed?: number; categoryQuotes?: CategoryQuotes; name?: string } = {},
): Promise<Prepared> {
  const metadata = join(root, 'metadata');
  await writeFiles(metadata, { ...handMade, ...options.files });
  const countries = options.countries ? join(root, 'countries') : undefined;
  if (countries) await writeFiles(countries, options.countries ?? {});
  const out = join(root, options.name ?? 'out');
  const images = { kind: 'folder', root } as const;
  const { testSeed = 0, categoryQuotes = 'reference' } = options;
  const manifest = await prepareLists({ metadata, countries, images, lists, testSeed, categoryQuotes, out, threads: 2 });
  return {
    manifest,
    rows: async (list) => (await Array.fromAsync(readList(join(out, manifest.lists[list]?.path ?? '')))).flat(),
    truth: async () => (await Array.fromAsync(readGroundTruth(join(out, manifest.groundTruth?.path ?? '')))).flat(),
  };
}

const short = (rows: ListRow[]): string[] => rows.map((row) => `${row.imageId.slice(0, 2)} ${row.label} ${row.noisy ? 1 : 0}`);

const fullInShort = ['g1 2 1', 'b1 1 0', 'a3 0 1', 'a1 0 0', 'b2 0 1', 'd1 3 1', 'g2 2 1', 'a2 0 0', 'd2 4 1'];

describe('the lists', () => {
  test('clean numbers the landmarks by their row in train_clean.csv', async () => {
    await using folder = await testFolder();
    const { rows, manifest } = await prepare(folder.path, ['clean']);
    expect(short(await rows('clean'))).toEqual(['a1 0 0', 'a2 0 0', 'b1 1 0', 'b2 1 0']);
    expect(manifest.lists.clean?.labelSizes).toEqual({
      ...{ bins: [{ from: 2, to: 3, labels: 2, rows: 4 }], least: 2, median: 2, most: 2 },
      largest: [0, 1].map((label) => ({ label, rows: 2 })),
    });
    const samples = manifest.lists.clean?.samples.map(({ imageId, label }) => `${imageId} ${label}`);
    expect(samples?.toSorted()).toEqual(['a1aaaa 0', 'a2aaaa 0', 'b1bbbb 1', 'b2bbbb 1']);
    expect((await rows('clean'))[0]?.path).toBe('train/a/1/a/a1aaaa.jpg');
  });

  test('full keeps the order of train.csv, numbers further landmarks by first appearance, and calls noisy what the cleaned class lacks', async () => {
    await using folder = await testFolder();
    const { rows } = await prepare(folder.path, ['full']);
    // b2 is a clean image of landmark 30, but stands under 70: noisy there.
    expect(short(await rows('full'))).toEqual(fullInShort);
  });

  test('c2x is the part of full whose landmark is clean', async () => {
    await using folder = await testFolder();
    const { rows } = await prepare(folder.path, ['c2x']);
    expect(short(await rows('c2x'))).toEqual(['b1 1 0', 'a3 0 1', 'a1 0 0', 'b2 0 1', 'a2 0 0']);
  });

  test('index_train adds the index images whose category is a train category, the last landmark of a category winning', async () => {
    await using folder = await testFolder();
    const { rows } = await prepare(folder.path, ['index_train']);
    // i2 (Epsilon) is dropped; Delta is the category of 20 and 21, and 21 comes later.
    expect(short(await rows('index_train'))).toEqual([...fullInShort, 'i1 1 0', 'i3 0 0', 'i4 4 0', 'i5 0 0', 'i6 0 0']);
    expect((await rows('index_train')).at(-1)?.path).toBe('index/i/6/i/i6iiii.jpg');
  });

  test('a quoted category loses its closing quote only, so it joins with inner quotes doubled', async () => {
    await using folder = await testFolder();
    const plain: string[] = [...handMade['index_label_to_category.csv']];
    plain[2] = '2,http://commons.wikimedia.org/wiki/Category:Beta,_""Town""';
    const { rows } = await prepare(folder.path, ['index_train'], { files: { 'index_label_to_category.csv': plain } });
    expect(short(await rows('index_train'))).toContain('i1 1 0');
  });

  test('categories read as CSV join with each other and with countries by what they say, not by how they are written', async () => {
    await using folder = await testFolder();
    const say = 'http://commons.wikimedia.org/wiki/Category:Say_';
    const files = {
      'train_label_to_category.csv': [...handMade['train_label_to_category.csv'].slice(0, 4), `50,"${say}""Town"""`],
      // Not CSV, though the reference reads it: the quotes are neither around the cell nor doubled.
      'index_label_to_category.csv': [...handMade['index_label_to_category.csv'].slice(0, 4), `4,${say}"Town"`],
    };
    const read = async (categoryQuotes: CategoryQuotes) => {
      const { rows } = await prepare(folder.path, ['all'], { files, countries: handMadeCountries, categoryQuotes, name: categoryQuotes });
      return (await rows('all')).filter((row) => /^i[12]/.test(row.imageId)).map((row) => `${row.imageId} ${row.country}`);
    };
    expect(await read('reference')).toEqual(['i1iiii TR']);
    await expect(read('csv')).rejects.toMatchObject({
      code: 'bad_row',
      message: expect.stringMatching(/index_label_to_category\.csv, line 5, column 2 \(category\)/),
    });
    files['index_label_to_category.csv'][4] = `4,"${say}""Town"""`;
    expect(await read('csv')).toEqual(['i1iiii TR', 'i2iiii null']);
  });

  test('a landmark with two categories has the last one', async () => {
    await using folder = await testFolder();
    const twice = [...handMade['train_label_to_category.csv'], '50,http://commons.wikimedia.org/wiki/Category:Epsilon'];
    const { rows } = await prepare(folder.path, ['index_train'], { files: { 'train_label_to_category.csv': twice } });
    expect(short(await rows('index_train'))).toContain('i2 2 0');
  });

  test('all adds a row a label for each query, and label -1 for ignored ones', async () => {
    await using folder = await testFolder();
    const { manifest, rows } = await prepare(folder.path, ['all']);
    const queries = (await rows('all')).filter((row) => row.path.startsWith('test/'));
    // q1 has two images of one label; q3 has three labels; q4's category is unknown to train.
    expect(short(queries)).toEqual(['q1 0 0', 'q2 -1 0', 'q3 0 0', 'q3 1 0', 'q3 4 0']);
    expect(manifest.lists.all).toMatchObject({ rows: 19, images: 17, labels: 5, classes: 5, unlabelled: 1, noisy: 6, missingImages: null });
  });

  test('images are numbered by first appearance, a repeated one with the number it had', async () => {
    await using folder = await testFolder();
    // a1 is a train image of two landmarks.
    const train = [...handMade['train.csv'], 'a1aaaa,u,30'];
    const { manifest, rows } = await prepare(folder.path, ['full', 'all'], { files: { 'train.csv': train } });
    expect((await rows('full')).map((row) => row.imageNumber)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 3]);
    expect(manifest.lists.full).toMatchObject({ rows: 10, images: 9 });
    const queries = (await rows('all')).filter((row) => row.path.startsWith('test/'));
    expect(queries.map((row) => row.imageNumber)).toEqual([14, 15, 16, 16, 16]);
  });

  test('query has each scored query once, index the gallery in file order, and the ground truth a row an image', async () => {
    await using folder = await testFolder();
    const { manifest, rows, truth } = await prepare(folder.path, ['query', 'index']);
    expect(short(await rows('query'))).toEqual(['q1 0 0', 'q3 4 0', 'q4 -1 0']);
    expect(short(await rows('index'))).toEqual(['i6 0 0', 'i5 0 0', 'i4 4 0', 'i3 0 0', 'i2 -1 0', 'i1 1 0', 'x1 -1 0']);
    expect((await truth()).map((row) => `${row.queryId} ${row.imageId} ${row.usage}`)).toEqual([
      'q1qqqq i3iiii Private',
      'q1qqqq i5iiii Private',
      'q3qqqq i4iiii Public',
      'q3qqqq i1iiii Public',
      'q3qqqq i3iiii Public',
      'q4qqqq i2iiii Private',
    ]);
    expect(manifest.groundTruth).toMatchObject({ rows: 6, queries: 3, notInIndex: 0 });
  });

  test('index_expand is the ids of the competition, then the ground truths that they lack, each once', async () => {
    await using folder = await testFolder();
    const files = { 'competition_index.csv': ['id', 'i6iiii', 'z1zzzz', 'i1iiii'] };
    const { manifest, rows } = await prepare(folder.path, ['query', 'index_expand'], { files });
    // q1 asks for i3 and i5, q3 for i4, i1 and i3, q4 for i2; the ignored q2 for nothing.
    expect(short(await rows('index_expand'))).toEqual(['i6 0 0', 'z1 -1 0', 'i1 1 0', 'i3 0 0', 'i5 0 0', 'i4 4 0', 'i2 -1 0']);
    expect((await rows('index_expand'))[1]?.path).toBe('index/z/1/z/z1zzzz.jpg');
    expect(manifest.lists.index_expand).toMatchObject({ rows: 7, images: 7, unlabelled: 2 });
  });

  test('the digest of what is searched is that of its sorted ids, whatever their order, labels and source', async () => {
    await using folder = await testFolder();
    const ids = ['i6iiii', 'i5iiii', 'i4iiii', 'i3iiii', 'i2iiii', 'i1iiii', 'x1xxxx'];
    const { manifest } = await prepare(folder.path, ['clean', 'query', 'index']);
    expect(manifest.lists.index?.imagesDigest).toBe(
      sha256(
        ids
          .toSorted()
          .map((id) => `${id}\n`)
          .join(''),
      ),
    );
    expect(manifest.lists.clean?.imagesDigest).toBeNull();
    const files = {
      'index.csv': ['id', ...ids.toReversed()],
      'index_label_to_category.csv': handMade['index_label_to_category.csv'].slice(0, 2),
    };
    const other = await prepare(folder.path, ['index'], { files, name: 'other' });
    expect(other.manifest.lists.index?.sha256).not.toBe(manifest.lists.index?.sha256);
    expect(other.manifest.lists.index?.imagesDigest).toBe(manifest.lists.index?.imagesDigest);
  });

  test('query and index need no labels: without the label files every label is -1', async () => {
    await using folder = await testFolder();
    const { 'index.csv': index, 'retrieval_solution_v2.1.csv': solution } = handMade;
    await writeFiles(join(folder.path, 'bare'), { 'index.csv': index, 'retrieval_solution_v2.1.csv': solution });
    const out = join(folder.path, 'out');
    const images = { kind: 'folder', root: folder.path } as const;
    const manifest = await prepareLists({ metadata: join(folder.path, 'bare'), images, lists: ['query', 'index'], testSeed: 0, out });
    expect(manifest.lists.index).toMatchObject({ rows: 7, unlabelled: 7, labels: 0, classes: null });
    expect(manifest.lists.query).toMatchObject({ rows: 3, unlabelled: 3, classes: null });
  });

  test('test takes the first two index images of each label', async () => {
    await using folder = await testFolder();
    const { rows } = await prepare(folder.path, ['test']);
    expect(short(await rows('test')).toSorted()).toEqual(['i1 1 0', 'i3 0 0', 'i4 4 0', 'i5 0 0']);
  });

  test('test is a sample of 20,000 that the seed alone decides', async () => {
    await using folder = await testFolder();
    const landmarks = Array.from({ length: 10_500 }, (_, i) => i);
    const category = (i: number): string => `${i},http://commons.wikimedia.org/wiki/Category:C${i}`;
    const files = {
      'train_clean.csv': ['landmark_id,images', ...landmarks.map((i) => `${i},t${String(i).padStart(5, '0')}`)],
      'train.csv': ['id,url,landmark_id', ...landmarks.map((i) => `t${String(i).padStart(5, '0')},u,${i}`)],
      'train_label_to_category.csv': ['landmark_id,category', ...landmarks.map(category)],
      'index_label_to_category.csv': ['landmark_id,category', ...landmarks.map(category)],
      'index_image_to_landmark.csv': ['id,landmark_id', ...landmarks.flatMap((i) => [0, 1, 2].map((n) => `i${n}${i},${i}`))],
    };
    const first = await (await prepare(folder.path, ['test'], { files, testSeed: 3, name: 'a' })).rows('test');
    const again = await (await prepare(folder.path, ['test'], { files, testSeed: 3, name: 'b' })).rows('test');
    const other = await (await prepare(folder.path, ['test'], { files, testSeed: 4, name: 'c' })).rows('test');
    expect(first).toHaveLength(20_000);
    expect(first.every((row) => !row.imageId.startsWith('i2'))).toBe(true);
    expect(again).toEqual(first);
    expect(new Set(other.map((row) => row.imageId))).not.toEqual(new Set(first.map((row) => row.imageId)));
  });
});

describe('countries and continents', () => {
  test('come from the category: a later country wins, NA is Namibia, Turkey is Asian, Kosovo European, OTHER itself', async () => {
    await using folder = await testFolder();
    const { rows } = await prepare(folder.path, ['all'], { countries: handMadeCountries });
    const places = new Map((await rows('all')).map((row) => [row.imageId, `${row.country} ${row.continent}`]));
    expect(places.get('a1aaaa')).toBe('NA Africa');
    expect(places.get('b1bbbb')).toBe('TR Asia');
    expect(places.get('g1gggg')).toBe('XK Europe');
    expect(places.get('d1dddd')).toBe('OTHER OTHER');
    expect(places.get('i4iiii')).toBe('OTHER OTHER');
    expect(places.get('q2qqqq')).toBe('null null');
  });

  test('are null where no country lists the category, or no continent the country', async () => {
    await using folder = await testFolder();
    const countries = { ...handMadeCountries, 'country_codes.json': '{"FR": "France", "ZZ": "?"}', 'ZZ.json': '[{"name": "Alpha"}]' };
    const { rows } = await prepare(folder.path, ['full'], { countries });
    const places = new Map((await rows('full')).map((row) => [row.imageId, [row.country, row.continent]]));
    expect(places.get('a1aaaa')).toEqual(['ZZ', null]);
    expect(places.get('b1bbbb')).toEqual([null, null]);
    expect(places.get('g1gggg')).toEqual(['FR', 'Europe']);
  });
});

describe('the files', () => {
  test('may be parted into train/, index/ and test/, with CRLF, a byte order mark, blank lines and further columns', async () => {
    await using folder = await testFolder();
    const parted = {
      'train/train_clean.csv': handMade['train_clean.csv'].join('\r\n'),
      'train/train.csv': `\uFEFF${handMade['train.csv'].map((line, i) => (i === 0 ? `extra,${line}` : `,${line}`)).join('\n\n')}\n`,
      'train/train_label_to_category.csv': handMade['train_label_to_category.csv'].join('\r\n'),
      'index/index_label_to_category.csv': handMade['index_label_to_category.csv'],
      'index/index_image_to_landmark.csv': handMade['index_image_to_landmark.csv'].join('\r\n'),
      'test/retrieval_solution_v2.1.csv': handMade['retrieval_solution_v2.1.csv'].map((line) => line.replace(/,(i.*),P/, ',"$1",P')),
    };
    // Wildcards of file patterns and quotes mean themselves.
    const metadata = join(folder.path, "meta[1]*'s data");
    await writeFiles(metadata, parted);
    const images = { kind: 'folder', root: folder.path } as const;
    const out = join(folder.path, "out[1]*'s");
    await prepareLists({ metadata, images, lists: ['all'], testSeed: 0, out });
    const { rows } = await prepare(folder.path, ['all']);
    expect((await Array.fromAsync(readList(join(out, 'lists/all.parquet')))).flat()).toEqual(await rows('all'));
  });

  test('may be gzip, by name or by content alone', async () => {
    await using folder = await testFolder();
    const plain = await (await prepare(folder.path, ['all'], { countries: handMadeCountries })).rows('all');
    const metadata = join(folder.path, 'zipped');
    await mkdir(metadata);
    for (const [name, lines] of Object.entries(handMade)) {
      const file = name === 'train.csv' || name.includes('index_label') ? `${name}.gz` : name;
      await writeFile(join(metadata, file), gzipSync(`${lines.join('\n')}\n`));
    }
    const out = join(folder.path, 'from-zipped');
    const images = { kind: 'folder', root: folder.path } as const;
    const countries = join(folder.path, 'countries');
    const manifest = await prepareLists({ metadata, countries, images, lists: ['all'], testSeed: 0, out });
    expect((await Array.fromAsync(readList(join(out, 'lists/all.parquet')))).flat()).toEqual(plain);
    expect(manifest.inputs['train.csv.gz']).toEqual({ ...(await fileDigest(join(metadata, 'train.csv.gz'))), rows: 9 });
  });

  test.each(['train.csv', 'train_label_to_category.csv'] as const)(
    '%s.gz that is cut off is named, not read as far as it goes',
    async (name) => {
      await using folder = await testFolder();
      const metadata = join(folder.path, 'metadata');
      const { [name]: lines, ...others } = handMade;
      await writeFiles(metadata, others);
      await writeFile(join(metadata, `${name}.gz`), gzipSync(`${lines.join('\n')}\n`).subarray(0, -20));
      const images = { kind: 'folder', root: folder.path } as const;
      const running = prepareLists({ metadata, images, lists: ['all'], testSeed: 0, out: join(folder.path, 'out') });
      await expect(running).rejects.toMatchObject({
        code: 'bad_row',
        message: expect.stringContaining(`${name}.gz is corrupt gzip in line`),
      });
    },
  );

  test('the manifest has rows, classes and the SHA-256 of every file read and written', async () => {
    await using folder = await testFolder();
    const { manifest } = await prepare(folder.path, ['clean', 'c2x', 'full', 'query'], { countries: handMadeCountries });
    const out = join(folder.path, 'out');
    expect(JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'))).toEqual(manifest);
    expect([manifest.lists.clean?.classes, manifest.lists.c2x?.classes, manifest.lists.full?.classes]).toEqual([2, 2, 5]);
    for (const entry of [...Object.values(manifest.lists), manifest.groundTruth]) {
      expect(entry?.sha256).toBe((await fileDigest(join(out, entry?.path ?? ''))).sha256);
    }
    expect(manifest.inputs['train.csv']).toEqual({ ...(await fileDigest(join(folder.path, 'metadata/train.csv'))), rows: 9 });
    expect(Object.keys(manifest.inputs)).toContain('countries/TR.json');
    expect((await readdir(out)).toSorted()).toEqual(['lists', 'manifest.json']);
  });

  test('the same metadata gives the same bytes with any number of threads', async () => {
    await using folder = await testFolder();
    const metadata = join(folder.path, 'metadata');
    const ids = Array.from({ length: 140_000 }, (_, i) => i.toString(16).padStart(16, '0'));
    const train = ids.map((id, i) => `${id},u,${(i * 7919) % 5000}`);
    const clean = ids.slice(0, 100).map((id, i) => `${(i * 7919) % 5000},${id}`);
    await writeFiles(metadata, { 'train.csv': ['id,url,landmark_id', ...train], 'train_clean.csv': ['landmark_id,images', ...clean] });
    const images = { kind: 'folder', root: folder.path } as const;
    const common = { metadata, images, lists: ['full'] as const, testSeed: 0 };
    const one = await prepareLists({ ...common, out: join(folder.path, 'one'), threads: 1 });
    const many = await prepareLists({ ...common, out: join(folder.path, 'many'), threads: 4 });
    expect(many.lists).toEqual(one.lists);
    const some = readList(join(folder.path, 'many/lists/full.parquet'), { from: 130_000, limit: 3 });
    expect((await Array.fromAsync(some)).flat().map((row) => row.imageId)).toEqual(ids.slice(130_000, 130_003));
  });

  test('a folder that holds something is refused and left alone', async () => {
    await using folder = await testFolder();
    await writeFiles(join(folder.path, 'out'), { 'mine.txt': 'mine' });
    await expect(prepare(folder.path, ['clean'])).rejects.toMatchObject({ code: 'name_taken' });
    expect(await readdir(join(folder.path, 'out'))).toEqual(['mine.txt']);
  });

  test('a missing folder is reported as such, not as missing files', async () => {
    await using folder = await testFolder();
    const [metadata, countries, out] = ['metadata', 'countries', 'out'].map((name) => join(folder.path, name)) as [string, string, string];
    const make = () =>
      prepareLists({ metadata, countries, images: { kind: 'folder', root: folder.path }, lists: ['clean'], testSeed: 0, out });
    const missing = (what: string) => ({ code: 'missing_file', message: expect.stringContaining(`${what} does not exist`) });
    await expect(make()).rejects.toMatchObject(missing(`The metadata folder ${metadata}`));
    await writeFiles(metadata, handMade);
    await expect(make()).rejects.toMatchObject(missing(`The countries folder ${countries}`));
  });

  test('an abort or a bad row leaves nothing behind', async () => {
    await using folder = await testFolder();
    const metadata = join(folder.path, 'metadata');
    await writeFiles(metadata, handMade);
    const images = { kind: 'folder', root: folder.path } as const;
    const stop = new AbortController();
    const out = join(folder.path, 'out');
    const running = prepareLists({ metadata, images, lists: ['all'], testSeed: 0, out, signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
    await writeFile(join(metadata, 'train.csv'), 'id,url,landmark_id\n../../x,u,1\n');
    await expect(prepareLists({ metadata, images, lists: ['all'], testSeed: 0, out })).rejects.toMatchObject({ code: 'bad_row' });
    expect(await readdir(folder.path)).toEqual(['metadata']);
  });
});
