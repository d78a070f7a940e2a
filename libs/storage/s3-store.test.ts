import { createHash, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { startS3, startS3Proxy, type TestS3, type Verdict } from '@cairn/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ObjectStore } from './object-store.ts';
import { openStore } from './open-store.ts';
import { defaultS3Limits, parseS3Location, type S3Limits } from './s3-bucket.ts';
import { openS3Store } from './s3-store.ts';
import { artifactContract } from './testing/artifact-contract.ts';
import { storeContract } from './testing/store-contract.ts';

// The server is sometimes busy with more than this file's requests.
vi.setConfig({ testTimeout: 60_000 });

let s3: TestS3;
beforeAll(async () => {
  s3 = await startS3();
});
afterAll(() => s3.stop());

let prefix: string;
let store: ObjectStore;
beforeEach(() => {
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
  prefix = `tests/${randomUUID()}`;
  store = openStore(s3.url(prefix));
});
afterEach(() => void vi.useRealTimers());

async function unfinished(): Promise<string[]> {
  const { Uploads: uploads = [] } = await s3.client.send(new ListMultipartUploadsCommand({ Bucket: s3.bucket, Prefix: prefix }));
  return uploads.flatMap(({ Key }) => (Key === undefined ? [] : [Key]));
}

describe('a bucket, like every store,', () => {
  storeContract(async () => ({ store, place: `s3://${s3.bucket}/${prefix}`, unfinished, close: async () => undefined }));
  artifactContract(() => store);
});

const mebibyte = 2 ** 20;

/** The same bytes every time, without holding them in memory. */
async function* content(bytes: number) {
  const chunk = Buffer.alloc(65_536, 'landmark');
  for (let left = bytes; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
}

async function digestOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

function storeWith(limits: Partial<S3Limits>): ObjectStore {
  return openS3Store(parseS3Location(new URL(s3.url(prefix))), limits);
}

test('an object of 100 MB is sent in parts, with at most two more of them in memory than are sent at once', async () => {
  const bytes = 100_000_000;
  const { partBytes, parallelParts } = defaultS3Limits;
  const proxy = await startS3Proxy(s3.port);
  let [offered, stored, ahead] = [0, 0, 0];
  proxy.onAnswer = (_, target) => {
    if (target.includes('partNumber=')) stored += partBytes;
  };
  async function* watched() {
    for await (const chunk of content(bytes)) {
      offered += chunk.length;
      ahead = Math.max(ahead, offered - stored);
      yield chunk;
    }
  }
  const sha256 = await digestOf(content(bytes));
  const sent = openStore(s3.url(prefix).replace(s3.endpoint, proxy.endpoint));
  expect(await sent.put('large', Readable.from(watched()))).toEqual({ bytes, sha256, written: true });
  expect(ahead).toBeGreaterThan(partBytes);
  expect(ahead).toBeLessThanOrEqual((parallelParts + 2) * partBytes);
  expect(await store.head('large')).toMatchObject({ bytes });
  expect(await digestOf(await store.get('large'))).toBe(sha256);
  expect(await unfinished()).toEqual([]);
  await proxy.close();
});

// One after another once all have arrived, because SeaweedFS checks whether the object exists and creates it in two steps.
test.each([
  { how: 'in one request', bytes: 9, isEnd: (method: string, target: string) => method === 'PUT' && target.includes('/claim') },
  { how: 'in parts', bytes: 9 * mebibyte, isEnd: (method: string, target: string) => method === 'POST' && target.includes('uploadId=') },
])(
  'when several writers put the same absent object $how at once, exactly one writes it, and no upload is left',
  async ({ bytes, isEnd }) => {
    const writers = ['a', 'b', 'c'];
    const proxy = await startS3Proxy(s3.port);
    const waiting: (() => void)[] = [];
    proxy.decide = async (method, target): Promise<Verdict> => {
      if (!isEnd(method, target)) return 'pass';
      const turn = Promise.withResolvers<void>();
      waiting.push(turn.resolve);
      if (waiting.length === writers.length) waiting.shift()?.();
      await turn.promise;
      return 'pass';
    };
    proxy.onAnswer = (method, target) => {
      if (isEnd(method, target)) waiting.shift()?.();
    };
    const sent = openStore(s3.url(prefix).replace(s3.endpoint, proxy.endpoint));
    const results = await Promise.all(writers.map((letter) => sent.put('claim', Buffer.alloc(bytes, letter), { ifAbsent: true })));
    const written = results.filter((result) => result.written);
    expect(written).toHaveLength(1);
    expect(await digestOf(await store.get('claim'))).toBe(written[0]?.sha256);
    expect(await unfinished()).toEqual([]);
    await proxy.close();
  },
);

test('a large object is copied in parts, in their order', async () => {
  const bytes = 12 * mebibyte + 1;
  const { sha256 } = await store.put(
    'a+b/from',
    Buffer.concat([Buffer.alloc(5 * mebibyte, 'a'), Buffer.alloc(5 * mebibyte, 'b'), Buffer.alloc(bytes - 10 * mebibyte, 'c')]),
  );
  await storeWith({ copyPartBytes: 5 * mebibyte }).copy('a+b/from', 'to');
  expect(await digestOf(await store.get('to'))).toBe(sha256);
  expect(await unfinished()).toEqual([]);
});

test('more than one page of objects is listed and removed', async () => {
  const paged = storeWith({ pageKeys: 5 });
  const keys = Array.from({ length: 12 }, (_, index) => `many/${String(index).padStart(4, '0')}`);
  for (const key of keys) await store.put(key, key);
  expect((await Array.fromAsync(paged.list('many'))).map(({ key }) => key)).toEqual(keys);
  await paged.removePrefix('many');
  expect(await Array.fromAsync(store.list(''))).toEqual([]);
});

test("another tool's folder marker is not an object, and is removed with its folder", async () => {
  await store.put('folder/object', 'x');
  await s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: `${prefix}/folder/`, Body: Buffer.alloc(0) }));
  expect((await Array.fromAsync(store.list('folder'))).map(({ key }) => key)).toEqual(['folder/object']);
  await store.removePrefix('folder');
  const { Contents } = await s3.client.send(new ListObjectsV2Command({ Bucket: s3.bucket, Prefix: prefix }));
  expect(Contents ?? []).toEqual([]);
});

test('the sweep removes old uploads below the prefix, and no others', async () => {
  const begin = (Key: string) => s3.client.send(new CreateMultipartUploadCommand({ Bucket: s3.bucket, Key }));
  const [neighbour] = await Promise.all([begin(`${prefix}-2/other`), begin(`${prefix}/one`), begin(`${prefix}/two`)]);
  expect(await store.sweepTemporary(60_000)).toBe(0);
  expect(await unfinished()).toHaveLength(3);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 120_000 });
  expect(await storeWith({ pageKeys: 1 }).sweepTemporary(60_000)).toBe(2);
  expect(await unfinished()).toEqual([neighbour.Key]);
});

test('every call names a missing bucket', async () => {
  const missing = openStore(s3.url().replace(s3.bucket, 'absent-bucket'));
  const calls = [
    missing.put('key', 'x'),
    missing.put('key', Buffer.alloc(9 * mebibyte)),
    missing.getBytes('key'),
    missing.head('key'),
    missing.copy('key', 'to'),
    missing.removePrefix('key'),
    Array.fromAsync(missing.list('')),
    missing.sweepTemporary(0),
  ];
  for (const call of await Promise.allSettled(calls)) {
    expect(call).toMatchObject({
      reason: {
        code: 'storage_failed',
        message: expect.stringContaining(`there is no bucket absent-bucket at ${s3.endpoint}. Create it, or correct the storage URL.`),
      },
    });
  }
});

test.each([
  ['AWS_ACCESS_KEY_ID', 'unknown-key', 'the access key is unknown at http'],
  ['AWS_SECRET_ACCESS_KEY', 'wrong-secret', 'the secret key does not belong to the access key. Correct AWS_SECRET_ACCESS_KEY'],
])('a wrong %s is reported, without its value', async (name, value, message) => {
  vi.stubEnv(name, value);
  const error = await openStore(s3.url())
    .put('key', 'x')
    .catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'storage_failed', message: expect.stringContaining(message) });
  const printed = inspect(error, { depth: 10, showHidden: true });
  for (const secret of [value, ...Object.values(s3.env).slice(1)]) expect(printed).not.toContain(secret);
});

test('with read-only credentials the message says which permissions are needed', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', s3.readerEnv.AWS_ACCESS_KEY_ID);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', s3.readerEnv.AWS_SECRET_ACCESS_KEY);
  const reader = openStore(s3.url(prefix));
  await expect(reader.put('key', 'x')).rejects.toMatchObject({
    code: 'storage_failed',
    message: expect.stringContaining(
      `the credentials do not permit this. Allow them to list, read, write and delete in the bucket ${s3.bucket}`,
    ),
  });
  expect(await Array.fromAsync(reader.list(''))).toEqual([]);
});

test('without credentials the message says how to set them', async () => {
  for (const name of Object.keys(s3.env)) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nowhere');
  vi.stubEnv('AWS_CONFIG_FILE', '/nowhere');
  await expect(openStore(s3.url()).head('key')).rejects.toMatchObject({
    code: 'storage_failed',
    message: expect.stringContaining('no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'),
  });
});

test('without a region AWS itself cannot be reached, another server can', async () => {
  for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_CONFIG_FILE', '/nowhere');
  await expect(openStore('s3://bucket').head('key')).rejects.toMatchObject({
    code: 'invalid_configuration',
    message: 'No region is known for bucket: add ?region=... to the storage URL, or set AWS_REGION.',
  });
  expect(await openStore(s3.url()).head('absent')).toBeNull();
});

test('the endpoint may come from the environment', async () => {
  vi.stubEnv('AWS_ENDPOINT_URL_S3', s3.endpoint);
  const other = openStore(`s3://${s3.bucket}/${prefix}?region=us-east-1&forcePathStyle=true`);
  await other.put('key', 'x');
  expect((await store.getBytes('key')).toString()).toBe('x');
});

test('the keys of a store are below its prefix, and cannot leave it', async () => {
  await store.put('key', 'x');
  expect((await openStore(s3.url()).getBytes(`${prefix}/key`)).toString()).toBe('x');
  const room = 1024 - prefix.length - 1;
  await expect(store.head(`${'k'.repeat(199)}/`.repeat(5).slice(0, room + 1))).rejects.toMatchObject({ code: 'invalid_path' });
});
