import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { ImageSource } from '@cairn/contract';
import { openSource, openStore } from '@cairn/storage';
import { type S3Proxy, startS3, startS3Proxy, type TestS3, type Verdict } from '@cairn/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { inspectDataset } from '../check-dataset.ts';
import { imagePath, imageSplits } from '../folders.ts';
import { openImageReader } from '../images/open-image-reader.ts';
import { type ListRow, readList } from '../lists/manifest.ts';
import { prepareLists } from '../lists/prepare-lists.ts';
import { testFolder } from '../testing/hand-made-collection.ts';
import { collectionImages, contentOf, serveFolder, upload, writeCollection } from '../testing/object-collection.ts';

vi.setConfig({ testTimeout: 120_000 });

let s3: TestS3;
let proxy: S3Proxy;
let asked: string[] = [];
let verdict: (target: string) => Verdict | Promise<Verdict> = () => 'pass';
let folder: Awaited<ReturnType<typeof testFolder>>;
/** The collection as tars in the bucket, registered and prepared; `made` is its copy in a folder. */
let tars: Awaited<ReturnType<typeof inBucket>> & Awaited<ReturnType<typeof prepared>> & { made: string; rows: ListRow[] };
beforeAll(async () => {
  folder = await testFolder();
  s3 = await startS3();
  proxy = await startS3Proxy(s3.port);
  proxy.decide = (method, target) => {
    asked.push(`${method} ${target}`);
    return verdict(target);
  };
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
  const made = join(folder.path, 'tars');
  const bucket = await inBucket(made, 'tars', 'tars');
  const lists = await prepared(bucket.source, bucket.roots);
  tars = { ...bucket, ...lists, made, rows: await lists.rowsOf('full') };
});
afterAll(async () => {
  await folder[Symbol.asyncDispose]();
  await proxy.close();
  await s3.stop();
});
beforeEach(() => {
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
});
afterEach(() => {
  verdict = () => 'pass';
});

const lists = ['full', 'query', 'index'] as const;
/** Short pauses; what ends a read is long, as this machine may be busy. */
const fast = { firstPauseMs: 5, longestPauseMs: 20, patienceMs: 60_000, idleMs: 2000, mostTries: 50 };
const tarReads = (): string[] => asked.filter((line) => line.startsWith('GET') && /\.tar(\?|$)/.test(line));

/** The collection in the bucket, reached through the proxy. */
async function inBucket(folder: string, prefix: string, kind: ImageSource['kind']) {
  await writeCollection(folder, kind);
  await upload(folder, s3.url(prefix));
  const url = `s3://${s3.bucket}/${prefix}`;
  return { source: sourceAt(url, kind), roots: [`${url}?endpoint=${proxy.endpoint}&region=us-east-1`] };
}

function sourceAt(url: string, kind: ImageSource['kind']): ImageSource {
  return { kind, root: url, metadata: url, countries: `${url}/countries` };
}

async function prepared({ kind, root, metadata, countries }: ImageSource, roots: readonly string[]) {
  asked = [];
  const { files, digestBasis } = await inspectDataset({ kind, root, metadata, countries }, { roots });
  const readByRegistration = tarReads().length;
  const out = join(folder.path, `lists-${createHash('md5').update(root).digest('hex')}`);
  const images = { kind, root };
  const manifest = await prepareLists({
    metadata,
    countries: countries ?? '',
    images,
    registered: files,
    roots,
    lists: [...lists],
    testSeed: 0,
    out,
  });
  const rowsOf = async (list: (typeof lists)[number]) => (await Array.fromAsync(readList(join(out, `lists/${list}.parquet`)))).flat();
  return { files, manifest, rowsOf, digestBasis, readByRegistration, readByPrepare: tarReads().length - readByRegistration };
}

/** What a list says but for the place and time of its files. */
const withoutPlaces = (rows: readonly ListRow[]) =>
  rows.map(({ imageId, path, label, noisy, country, continent }) => ({ imageId, path, label, noisy, country, continent }));

async function readAll(root: string, roots: readonly string[], rows: readonly ListRow[]): Promise<void> {
  const reader = await openImageReader(root, roots, fast);
  try {
    const inOrder = rows.toSorted((a, b) => a.imageNumber - b.imageNumber);
    reader.plan(inOrder);
    const bytes = await Promise.all(inOrder.map((row) => reader.read(row)));
    for (const [index, row] of inOrder.entries()) expect(bytes[index]?.equals(contentOf(row.imageId))).toBe(true);
  } finally {
    await reader.close();
  }
}

test('tars in a bucket become the lists of the same tars in a folder; registration reads none, and prepare each once', async () => {
  expect(tars.readByRegistration).toBe(0);
  expect(tars.readByPrepare).toBe(6);
  const here = await prepared(sourceAt(tars.made, 'tars'), [folder.path]);
  expect(tars.files).toEqual(here.files);
  for (const list of lists) expect(withoutPlaces(await tars.rowsOf(list))).toEqual(withoutPlaces(await here.rowsOf(list)));
  expect(tars.manifest.lists.full?.tarsDigest).toBe(here.manifest.lists.full?.tarsDigest);
});

test('images are numbered by their places in the tars, and the run of a tar is one request', async () => {
  const { source, roots, rows } = tars;
  const places = rows.toSorted((a, b) => a.imageNumber - b.imageNumber).map(({ tar, offset }) => `${tar} ${String(offset).padStart(9)}`);
  expect(places).toEqual(places.toSorted());
  asked = [];
  await readAll(source.root, roots, rows);
  expect(asked.length).toBe(2);
});

test('reads that are cut, stall or are refused continue at the byte that was reached', async () => {
  const faults: Verdict[] = [
    { cutAfter: 70_000 },
    { status: 503, code: 'SlowDown' },
    { silentAfter: 10_000 },
    { status: 500, code: 'InternalError' },
    { silentAfter: 0 },
    { cutAfter: 0 },
  ];
  let given = 0;
  verdict = () => faults[given++] ?? 'pass';
  await readAll(tars.source.root, tars.roots, tars.rows);
  expect(given).toBeGreaterThan(faults.length);
});

test('credentials that expire half way are read again, and when they stay expired there is one clear error at once', async () => {
  const { source, roots, rows } = tars;
  let refusals = 1;
  verdict = () => (refusals-- > 0 ? { status: 403, code: 'ExpiredToken' } : 'pass');
  await readAll(source.root, roots, rows);
  refusals = Number.POSITIVE_INFINITY;
  asked = [];
  await expect(readAll(source.root, roots, rows.slice(0, 1))).rejects.toMatchObject({
    code: 'source_denied',
    message: expect.stringContaining('the credentials have expired. Renew them'),
  });
  expect(asked.length).toBe(2);
});

test('a tar that was replaced, has another md5, or does not match its index is named', async () => {
  const { source, roots } = tars;
  const rows = (await tars.rowsOf('index')).filter(({ tar }) => tar === 'index/images_000.tar');
  const [row] = rows;
  if (row === undefined) throw new Error('the tar has no images');

  // Before its second is over, by one that may get the same size and time.
  const store = openStore(s3.url('tars'));
  const last = 'index/images_001.tar';
  const bytes = await store.getBytes(last);
  asked = [];
  verdict = async (): Promise<Verdict> => {
    const isSeenAgain = asked.filter((line) => line.startsWith('HEAD') && line.includes(last)).length === 2;
    if (isSeenAgain) await store.put(last, Buffer.concat([bytes.subarray(0, -1), Buffer.of(1)]));
    return 'pass';
  };
  const prepareIndex = (out: string) =>
    prepareLists({ metadata: source.metadata, images: source, roots, lists: ['index'], testSeed: 0, out: join(folder.path, out) });
  const message = `${source.root}/${last} has changed while it was read`;
  await expect(prepareIndex('replaced-tar')).rejects.toMatchObject({ code: 'dataset_changed', message });
  verdict = () => 'pass';
  await store.put(last, bytes);

  const wrongPlace = readAll(source.root, roots, [{ ...row, offset: (row.offset ?? 0) + 512 }]);
  await expect(wrongPlace).rejects.toMatchObject({ code: 'corrupt_tar', message: expect.stringContaining('images_000.tar has no header') });
  await store.put('index/images_000.tar', Buffer.alloc(1_000_000));
  await expect(readAll(source.root, roots, rows)).rejects.toMatchObject({
    code: 'dataset_changed',
    message: expect.stringMatching(/index\/images_000.tar is 1000000 bytes.*; expected \d+ bytes/),
  });
  await expect(prepareIndex('again')).rejects.toMatchObject({
    code: 'corrupt_tar',
    message: expect.stringMatching(/images_000.tar has the md5 .* instead of/),
  });
});

test('a tar that becomes another between two of its ranges is named, even with the same size and time', async () => {
  const { source, roots } = tars;
  const [first, second] = (await tars.rowsOf('index')).filter(({ tar }) => tar === 'index/images_001.tar');
  const store = openStore(s3.url('tars'));
  const there = openSource(s3.url('tars'));
  onTestFinished(() => there.close());
  const bytes = await store.getBytes('index/images_001.tar');
  const put = async (content: Buffer): Promise<number> => {
    await store.put('index/images_001.tar', content);
    return (await there.head('index/images_001.tar'))?.changedMs ?? 0;
  };
  const other = Buffer.from(bytes);
  other[other.length - 1] = 1;
  for (;;) {
    const fileChangedMs = await put(bytes);
    const reader = await openImageReader(source.root, roots, fast);
    try {
      await reader.read({ ...first, path: first?.path ?? '', fileChangedMs });
      // Servers tell seconds.
      if ((await put(other)) !== fileChangedMs) continue;
      await expect(reader.read({ ...second, path: second?.path ?? '', fileChangedMs })).rejects.toMatchObject({
        code: 'dataset_changed',
        message: expect.stringMatching(/images_001.tar is .*, ETag .*; expected .*, ETag/),
      });
      break;
    } finally {
      await reader.close();
    }
  }
});

test('a tree in a bucket is digested by its ETags, and an outage costs one reader at a time a few requests and ends in one error', async () => {
  const { source, roots } = await inBucket(join(folder.path, 'tree'), 'tree', 'folder');
  const { digestBasis, files, rowsOf } = await prepared(source, roots);
  expect(digestBasis).toContain('ETags');
  const rows = await rowsOf('full');
  expect(withoutPlaces(rows)).toEqual(withoutPlaces(tars.rows));
  await readAll(source.root, roots, rows);

  // An image that is replaced before its second is over, by one that may get the same size and time.
  const replaced = imagePath('index', collectionImages.index[0]);
  const whereItIs = `prefix=${encodeURIComponent(`tree/${dirname(replaced)}/`)}`;
  let listings = 0;
  verdict = async (target): Promise<Verdict> => {
    if (target.includes(whereItIs)) listings += 1;
    if (listings === 2) await openStore(s3.url('tree')).put(replaced, Buffer.from('x'.repeat(contentOf(collectionImages.index[0]).length)));
    return 'pass';
  };
  const out = join(folder.path, 'replaced');
  const { kind, root, metadata } = source;
  await expect(
    prepareLists({ metadata, images: { kind, root }, registered: files, roots, lists: ['index'], testSeed: 0, out }),
  ).rejects.toMatchObject({
    code: 'dataset_changed',
    message: `${root}/index has changed while it was read`,
  });
  verdict = () => 'pass';

  const reader = await openImageReader(source.root, roots, { ...fast, firstPauseMs: 60, longestPauseMs: 100, patienceMs: 400 });
  const gone = reader.read({ path: imagePath('train', 'zzzzzz'), fileBytes: 5, fileChangedMs: 0 });
  await expect(gone).rejects.toMatchObject({ code: 'missing_file', reason: 'missing' });
  await openStore(s3.url('tree')).removePrefix('test');
  const emptied = reader.read({ path: imagePath('test', collectionImages.test[0]), fileBytes: 5, fileChangedMs: 0 });
  await expect(emptied).rejects.toMatchObject({ code: 'storage_failed', message: expect.stringContaining('gone or empty') });

  asked = [];
  verdict = () => ({ status: 503, code: 'ServiceUnavailable' });
  const outcomes = await Promise.allSettled(rows.map((row) => reader.read(row)));
  await reader.close();
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'storage_failed' } });
    if (outcome.status === 'rejected')
      expect(outcome.reason.message).toMatch(/no request has succeeded for .* s \(\d+ tries\); the last answer: .*limiting/);
  }
  // The first request of each, and the probes of one reader: without the breaker each reader would send as many.
  expect(asked.length).toBeLessThan(rows.length + 15);
});

test('tars of a web server are found by their numbers and read like those of a bucket', async () => {
  const made = join(folder.path, 'web');
  await writeCollection(made, 'tars');
  const server = await serveFolder(made);
  try {
    const { rowsOf, files } = await prepared(sourceAt(server.url, 'tars'), [server.url]);
    const names = imageSplits.flatMap((split) => [0, 1].map((n) => `${split}/images_00${n}.tar`));
    expect(Object.keys(files.images).toSorted()).toEqual(names.toSorted());
    await readAll(server.url, [server.url], await rowsOf('full'));
  } finally {
    await server.close();
  }
});

test('an address that is not allowed, or could lead elsewhere, is refused before anything is sent', async () => {
  const allowed = [folder.path, 's3://landmarks/gldv2?endpoint=http://127.0.0.1:9'];
  const codeOf = (root: string) =>
    openImageReader(root, allowed).then(
      () => 'opened',
      ({ code }) => code,
    );
  expect(await codeOf('s3://landmarks/gldv2-private')).toBe('folder_not_allowed');
  expect(await codeOf('https://landmarks/gldv2')).toBe('folder_not_allowed');
  expect(await codeOf('s3://landmarks/gldv2/../private')).toBe('invalid_path');
  expect(await codeOf('s3://landmarks/gldv2?endpoint=http://169.254.169.254')).toBe('invalid_path');
  expect(await codeOf('s3://landmarks/gldv2/train')).toBe('opened');
});
