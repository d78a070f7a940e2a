import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { sha256 } from '@cairn/runtime';
import { type S3Proxy, startS3, startS3Proxy, type TestS3, type Verdict, waitFor } from '@cairn/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { ObjectStore } from './object-store.ts';
import { parseS3Location, type S3Limits } from './s3-bucket.ts';
import { openS3Store } from './s3-store.ts';

const mebibyte = 2 ** 20;
const content = Buffer.alloc(24 * mebibyte, 'landmark');
const digest = createHash('sha256').update(content).digest('hex');

// The server is sometimes busy with more than this file's requests.
vi.setConfig({ testTimeout: 60_000 });

let s3: TestS3;
let proxy: S3Proxy;
let folder: string;
beforeAll(async () => {
  s3 = await startS3();
  proxy = await startS3Proxy(s3.port);
  folder = await mkdtemp(join(tmpdir(), 'cairn-outage-'));
});
afterAll(async () => {
  await proxy.close();
  await s3.stop();
  await rm(folder, { recursive: true });
});

let prefix: string;
beforeEach(() => {
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
  prefix = `tests/${randomUUID()}`;
});
afterEach(() => {
  proxy.decide = () => 'pass';
});

/** Small parts, so that an outage comes in the middle, and short pauses. */
function open(endpoint = s3.endpoint, limits: Partial<S3Limits> = {}): ObjectStore {
  const url = new URL(`s3://${s3.bucket}/${prefix}?endpoint=${endpoint}`);
  return openS3Store(parseS3Location(url), {
    partBytes: 5 * mebibyte,
    parallelParts: 2,
    attempts: 60,
    pauseMs: 50,
    maxPauseMs: 500,
    ...limits,
  });
}

/** The content, whose second half comes when `gate` opens. */
function gated(gate: Promise<void>): Readable {
  async function* halves() {
    yield content.subarray(0, content.length / 2);
    await gate;
    yield content.subarray(content.length / 2);
  }
  return Readable.from(halves());
}

async function uploads(): Promise<number> {
  const answer = await s3.client.send(new ListMultipartUploadsCommand({ Bucket: s3.bucket, Prefix: prefix }));
  return answer.Uploads?.length ?? 0;
}

async function digestOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest('hex');
}

/** Applies `verdicts` to the matching requests, one after another, then lets all pass. Returns a function that counts those applied. */
function spoil(fits: (method: string, target: string) => boolean, verdicts: Verdict[]): () => number {
  let given = 0;
  proxy.decide = (method, target) => {
    const verdict = fits(method, target) ? verdicts[given] : undefined;
    if (verdict === undefined) return 'pass';
    given += 1;
    return verdict;
  };
  return () => given;
}
const isPut = (method: string) => method === 'PUT';
const isGet = (method: string) => method === 'GET';

test('a server that restarts in the middle of a large put is waited for', async () => {
  const gate = Promise.withResolvers<void>();
  const putting = open().put('large', gated(gate.promise));
  await waitFor(async () => (await uploads()) === 1, { message: 'the upload to begin' });
  await s3.end();
  gate.resolve();
  await s3.start();
  expect(await putting).toEqual({ bytes: content.length, sha256: digest, written: true });
  expect(await digestOf(await open().get('large'))).toBe(digest);
});

test('a server that restarts in the middle of a large get is waited for, and the read continues at the same byte', async () => {
  const store = open();
  await store.put('large', content);
  const stream = await store.get('large');
  const hash = createHash('sha256');
  let restarting: Promise<void> | undefined;
  for await (const chunk of stream) {
    hash.update(chunk);
    if (restarting === undefined) {
      await s3.end();
      restarting = s3.start();
    }
  }
  await restarting;
  expect(hash.digest('hex')).toBe(digest);
});

test('a server that hangs for seconds is waited for, even by requests that have timed out', async () => {
  const store = open(proxy.endpoint, { silenceMs: 800 });
  await store.put('before', content);
  const reading = await store.get('before');
  await once(reading, 'readable');
  process.kill(s3.pid(), 'SIGSTOP');
  const asked: Record<string, number> = {};
  proxy.decide = (method, target) => {
    const what = `${method} ${target.split('?')[0]}`;
    asked[what] = (asked[what] ?? 0) + 1;
    return 'pass';
  };
  try {
    const calls = Promise.all([store.put('after', content), store.getBytes('before'), digestOf(reading)]);
    // The first tries of the writer and the readers have timed out, and later ones too.
    await waitFor(() => Object.values(asked).length >= 2 && Object.values(asked).every((times) => times >= 3), { timeoutMs: 30_000 });
    process.kill(s3.pid(), 'SIGCONT');
    const [put, bytes, read] = await calls;
    expect(put).toMatchObject({ sha256: digest });
    expect([sha256(bytes), read]).toEqual([digest, digest]);
  } finally {
    process.kill(s3.pid(), 'SIGCONT');
  }
});

test('a request without progress times out and is retried', async () => {
  const store = open(proxy.endpoint, { silenceMs: 400, pauseMs: 1 });
  await store.put('large', content);
  const given = spoil(isGet, [{ silentAfter: 7 * mebibyte }, { silentAfter: 0 }]);
  expect(await digestOf(await store.get('large'))).toBe(digest);
  expect(given()).toBe(2);
});

test('a request to a server that is limiting requests is retried, with pauses', async () => {
  const given = spoil(() => true, Array<Verdict>(3).fill({ status: 503, code: 'SlowDown' }));
  expect(await open(proxy.endpoint, { pauseMs: 20 }).put('key', 'x')).toMatchObject({ written: true });
  expect(given()).toBe(3);
});

test('a server that keeps limiting requests is reported after a bounded number of tries', async () => {
  const given = spoil(() => true, Array<Verdict>(20).fill({ status: 503, code: 'SlowDown' }));
  await expect(open(proxy.endpoint, { pauseMs: 1, attempts: 4 }).put('key', 'x')).rejects.toMatchObject({
    code: 'storage_failed',
    message: `Writing key in s3://${s3.bucket}/${prefix} failed: the server is limiting requests, and still did after several retries. Try again later.`,
  });
  expect(given()).toBe(4);
});

test('an unreachable server is named, and an abort ends the wait for it', async () => {
  const gone = await startS3Proxy(s3.port);
  await gone.close();
  await expect(open(gone.endpoint, { pauseMs: 1, attempts: 3 }).head('key')).rejects.toMatchObject({
    code: 'storage_failed',
    message: expect.stringContaining(`the server at ${gone.endpoint} cannot be reached. Check that it runs`),
  });
  const controller = new AbortController();
  const reason = new Error('superseded');
  const waiting = open(gone.endpoint, { pauseMs: 60_000, maxPauseMs: 60_000 }).head('key', controller.signal);
  controller.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});

test('a full store is storage_full, with the bytes offered', async () => {
  spoil(isPut, Array<Verdict>(9).fill({ status: 507, code: 'InsufficientStorage' }));
  await expect(open(proxy.endpoint, { pauseMs: 1, attempts: 8 }).put('key', 'landmark')).rejects.toMatchObject({
    code: 'storage_full',
    message: `No space is left in s3://${s3.bucket}/${prefix} for key: 8 bytes were offered.`,
  });
});

test('a part that fails permanently ends the put although its source has more, and leaves no upload', async () => {
  const never = Promise.withResolvers<void>();
  spoil(
    (method, target) => isPut(method) && target.includes('partNumber=2'),
    Array<Verdict>(9).fill({ status: 403, code: 'AccessDenied' }),
  );
  // A third part is being waited for when the second fails.
  await expect(open(proxy.endpoint, { parallelParts: 3 }).put('large', gated(never.promise))).rejects.toMatchObject({
    code: 'storage_failed',
  });
  expect(await uploads()).toBe(0);
  expect(await open().head('large')).toBeNull();
});

test('an abort ends a put whose source has stalled, and leaves no upload', async () => {
  const controller = new AbortController();
  const never = Promise.withResolvers<void>();
  const putting = open().put('large', gated(never.promise), { signal: controller.signal });
  await waitFor(async () => (await uploads()) === 1, { message: 'the upload to begin' });
  const reason = new Error('superseded');
  controller.abort(reason);
  await expect(putting).rejects.toBe(reason);
  expect(await uploads()).toBe(0);
});

test('a connection that breaks repeatedly in the middle of a get is opened again', async () => {
  const store = open(proxy.endpoint, { fruitlessResumes: 2, pauseMs: 1, attempts: 8 });
  await store.put('large', content);
  const given = spoil(isGet, [{ cutAfter: 1 }, { cutAfter: 7 * mebibyte }, { cutAfter: 100_000 }]);
  const file = join(folder, 'large');
  expect(await store.download('large', file, { sha256: digest })).toEqual({ bytes: content.length, sha256: digest });
  expect(given()).toBe(3);
  const range = spoil(isGet, [{ cutAfter: 10 }]);
  const stream = await store.get('large', { range: { start: 3, end: 5 * mebibyte } });
  expect(await digestOf(stream)).toBe(sha256(content.subarray(3, 5 * mebibyte)));
  expect(range()).toBe(1);
});

test('a get that has stalled ends with an error, and leaves no file', async () => {
  const store = open(proxy.endpoint, { pauseMs: 1, fruitlessResumes: 2 });
  await store.put('large', content);
  const given = spoil(isGet, Array<Verdict>(9).fill({ cutAfter: 0 }));
  await expect(store.download('large', join(folder, 'broken', 'large'))).rejects.toMatchObject({ code: 'storage_failed' });
  expect(given()).toBe(3);
  expect(await readdir(join(folder, 'broken'))).toEqual([]);
});

test('an object that is replaced while it is read is never returned as a mixture', async () => {
  const store = open(proxy.endpoint, { pauseMs: 1, attempts: 8 });
  await store.put('large', content);
  spoil(isGet, [{ cutAfter: 7 * mebibyte }]);
  const stream = await store.get('large');
  await store.put('large', Buffer.alloc(content.length, 'other'));
  await expect(digestOf(stream)).rejects.toMatchObject({
    code: 'storage_failed',
    message: `The object large in s3://${s3.bucket}/${prefix} was replaced while it was read. Read it again.`,
  });
});

test('a stream that is not read to its end closes its connection', async () => {
  const store = open(proxy.endpoint);
  await store.put('large', content);
  const stream = await store.get('large');
  await once(stream, 'readable');
  expect(proxy.serving()).toBe(1);
  stream.destroy();
  await waitFor(() => proxy.serving() === 0, { message: 'the connection to close' });
});

test('a writer whose answer was lost learns that it wrote', async () => {
  const store = open(proxy.endpoint, { pauseMs: 1, attempts: 8 });
  const small = spoil(isPut, ['lose answer']);
  expect(await store.put('claim', 'mine', { ifAbsent: true })).toMatchObject({ written: true });
  expect(small()).toBe(1);
  expect(await store.put('claim', 'another', { ifAbsent: true })).toMatchObject({ written: false });

  const isCompletion = (method: string, target: string) => method === 'POST' && target.includes('uploadId=');
  for (const ifAbsent of [true, false]) {
    const large = spoil(isCompletion, ['lose answer']);
    expect(await store.put(`large ${ifAbsent}`, content, { ifAbsent })).toMatchObject({ written: true, sha256: digest });
    expect(large()).toBe(1);
  }
  expect(await uploads()).toBe(0);
});

test('keys that could not be removed are named', async () => {
  const store = open(proxy.endpoint);
  await store.put('folder/a', 'x');
  const name = `${prefix}/folder/a`;
  spoil(
    (method, target) => method === 'POST' && target.includes('delete'),
    [{ body: `<DeleteResult><Error><Key>${name}</Key><Code>AccessDenied</Code><Message>held</Message></Error></DeleteResult>` }],
  );
  await expect(store.removePrefix('folder')).rejects.toMatchObject({
    code: 'storage_failed',
    message: `Removing folder in s3://${s3.bucket}/${prefix} failed for folder/a (AccessDenied: held).`,
  });
});
