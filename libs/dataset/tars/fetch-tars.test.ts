import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { testFolder } from '../testing/hand-made-collection.ts';
import type { FetchedTars, FetchTarsOptions } from './fetch-tars.ts';
import { fetchTars } from './fetch-tars.ts';
import { packTars } from './pack-tars.ts';

/** A request of a tar to a server that breaks as a test says. */
type Asked = { path: string; from: number | null; count: number; request: IncomingMessage; response: ServerResponse };

let folder: Awaited<ReturnType<typeof testFolder>>;
let close: () => Promise<void>;
let base: string;
/** What happens to requests instead of the right answer; true: it was answered. */
let breaks: (asked: Asked) => boolean | Promise<boolean>;
let asked: { path: string; from: number | null }[];
let files: Map<string, Buffer>;
let givesRanges: boolean;

beforeEach(async () => {
  folder = await testFolder();
  const images = Array.from({ length: 6 }, (_, i) => ({ id: `abc${i}`, read: async () => Buffer.alloc(200_000, i) }));
  const source = join(folder.path, 'source');
  const paths = await packTars(source, 'train', images, 2);
  files = new Map(await Promise.all(paths.map(async (path) => [`/${path}`, await readFile(join(source, path))] as const)));
  [breaks, asked, givesRanges] = [() => false, [], true];
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
});
afterEach(async () => {
  await close();
  await folder[Symbol.asyncDispose]();
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '';
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
  const from = range ? Number(range[1]) : null;
  asked.push({ path, from });
  const count = asked.filter((one) => one.path === path).length;
  if (await breaks({ path, from, count, request, response })) return;
  const file = files.get(path);
  if (file === undefined) response.writeHead(404).end();
  else if (from === null || !givesRanges) response.writeHead(200, { 'content-length': file.length }).end(file);
  else if (from >= file.length) response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end();
  else {
    const headers = { 'content-length': file.length - from, 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` };
    response.writeHead(206, headers).end(file.subarray(from));
  }
}

/** Sends the first bytes of the right answer, then breaks the connection. */
function cut({ path, from, request, response }: Asked, bytes: number): true {
  const file = files.get(path) ?? Buffer.alloc(0);
  const start = givesRanges ? (from ?? 0) : 0;
  const range = { 'content-range': `bytes ${start}-${file.length - 1}/${file.length}` };
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': file.length - start, ...(start > 0 ? range : {}) });
  response.write(file.subarray(start, start + bytes), () => request.socket.destroy());
  return true;
}

const out = (): string => join(folder.path, 'out');
const limits = { firstPauseMs: 1, longestPauseMs: 4, idleMs: 5000 };

function fetched(options: Partial<FetchTarsOptions> = {}): Promise<FetchedTars> {
  return fetchTars({ from: base, out: out(), tars: { train: [0, 1] }, parallel: 2, tries: 4, limits, ...options });
}

/** The names in the folder of tars, after looking that each tar there is the server's. */
async function got(): Promise<string[]> {
  const names = (await readdir(join(out(), 'train')).catch(() => [])).toSorted();
  for (const name of names.filter((one) => one.endsWith('.tar'))) {
    expect((await readFile(join(out(), 'train', name))).equals(files.get(`/train/${name}`) ?? Buffer.alloc(0))).toBe(true);
  }
  return names;
}

const both = ['images_000.tar', 'images_001.tar'];
const first = '/train/images_000.tar';
const second = '/train/images_001.tar';
const ofFirst = () => asked.filter(({ path }) => path === first).map(({ from }) => from);

describe('fetching tars', () => {
  test('brings them and their md5 files in the layout that is indexed, and only once', async () => {
    const progress: number[] = [];
    expect(await fetched({ onProgress: ({ bytes }) => progress.push(bytes) })).toMatchObject({
      fetched: expect.arrayContaining(['train/images_000.tar']),
      failed: [],
    });
    expect(await got()).toEqual(both);
    expect(progress.at(-1)).toBe((files.get(first)?.length ?? 0) + (files.get(second)?.length ?? 0));
    expect(await readFile(join(out(), 'md5sum/train/md5.images_001.txt'), 'utf8')).toBe(
      files.get('/md5sum/train/md5.images_001.txt')?.toString(),
    );
    const before = asked.length;
    expect((await fetched()).present.toSorted()).toEqual(['train/images_000.tar', 'train/images_001.tar']);
    expect(asked.length).toBe(before);
  });

  test('goes on where a connection was cut, as often as it brings something', async () => {
    breaks = (one) => one.path === first && one.count <= 7 && cut(one, 50_000);
    expect((await fetched()).failed).toEqual([]);
    expect(await got()).toEqual(both);
    const starts = ofFirst().map((from) => from ?? 0);
    expect(starts).toHaveLength(8);
    expect(starts.every((from, i) => i === 0 || from > (starts[i - 1] ?? 0))).toBe(true);
  });

  test('starts over if the server has no range support, and fails without progress', async () => {
    givesRanges = false;
    breaks = (one) => one.path === first && one.count <= 2 && cut(one, 100_000 * one.count);
    expect((await fetched()).failed).toEqual([]);
    expect(await got()).toEqual(both);
    files.set('/train/images_002.tar', files.get(first) ?? Buffer.alloc(0));
    files.set('/md5sum/train/md5.images_002.txt', files.get('/md5sum/train/md5.images_000.txt') ?? Buffer.alloc(0));
    breaks = (one) => one.path === '/train/images_002.tar' && cut(one, 100_000);
    const { failed } = await fetched({ tars: { train: [2] } });
    expect(failed).toMatchObject([
      { tar: 'train/images_002.tar', code: 'unavailable', message: expect.stringContaining('4 attempts without progress') },
    ]);
  });

  test.each([503, 500, 429, 408])('waits and retries when the server returns %i', async (status) => {
    breaks = ({ path, count, response }) => {
      if (!path.includes('images_000') || count > 3) return false;
      response.writeHead(status, { 'retry-after': '0' }).end('busy');
      return true;
    };
    expect((await fetched()).failed).toEqual([]);
    expect(await got()).toEqual(both);
    expect(ofFirst()).toHaveLength(4);
  });

  test('gives up a server that stays broken, and brings the other tars', async () => {
    breaks = ({ path, response }) => path === first && Boolean(response.writeHead(503).end());
    const { failed, fetched: brought } = await fetched();
    expect(failed).toMatchObject([{ code: 'unavailable', message: expect.stringContaining('the server returned 503') }]);
    expect(brought).toEqual(['train/images_001.tar']);
    expect(ofFirst()).toHaveLength(4);
  });

  test('reports immediately that a tar does not exist', async () => {
    const { failed } = await fetched({ tars: { train: [0, 7] } });
    expect(failed).toMatchObject([
      { tar: 'train/images_007.tar', code: 'missing_file', message: expect.stringContaining('the server returned 404') },
    ]);
    expect(asked.filter(({ path }) => path.includes('007'))).toHaveLength(1);
    expect(await got()).toEqual(['images_000.tar']);
  });

  test('throws away what has another md5 and fetches it again', async () => {
    const right = files.get(first) ?? Buffer.alloc(0);
    const wrong = Buffer.from(right);
    wrong[700] = (wrong[700] ?? 0) ^ 1;
    breaks = ({ path, count }) => {
      if (path === first) files.set(first, count <= 2 ? wrong : right);
      return false;
    };
    expect((await fetched()).failed).toEqual([]);
    expect(await got()).toEqual(both);
    expect(ofFirst()).toEqual([null, null, null]);
  });

  test('gives up a tar whose md5 never fits, and leaves nothing that could be taken for it', async () => {
    files.set('/md5sum/train/md5.images_000.txt', Buffer.from(`${'0'.repeat(32)}  images_000.tar\n`));
    const { failed } = await fetched({ tries: 2 });
    expect(failed).toMatchObject([
      { code: 'corrupt_tar', message: expect.stringMatching(/was downloaded 2 times with the md5 [0-9a-f]{32} instead of/) },
    ]);
    expect(await got()).toEqual(['images_001.tar']);
  });

  test('goes on in a later call with what an earlier one had, and not with a part of what has been replaced', async () => {
    const stop = new AbortController();
    breaks = (one) => one.path === first && cut(one, 150_000);
    const running = fetched({
      tars: { train: [0] },
      signal: stop.signal,
      onProgress: ({ bytes }) => bytes > 300_000 && stop.abort(new Error('enough')),
    });
    await expect(running).rejects.toThrow('enough');
    const [part = ''] = await got();
    expect(part).toMatch(/^images_000\.tar\.[0-9a-f]{32}\.part$/);
    const { size } = await stat(join(out(), 'train', part));
    [breaks, asked] = [() => false, []];
    expect((await fetched({ tars: { train: [0] } })).failed).toEqual([]);
    expect(await got()).toEqual(['images_000.tar']);
    expect(ofFirst()).toEqual([size]);
  });

  test('takes a part that is whole already', async () => {
    const md5 = files.get('/md5sum/train/md5.images_000.txt')?.toString().slice(0, 32);
    await mkdir(join(out(), 'train'), { recursive: true });
    await writeFile(join(out(), 'train', `images_000.tar.${md5}.part`), files.get(first) ?? '');
    expect((await fetched({ tars: { train: [0] } })).failed).toEqual([]);
    expect(await got()).toEqual(['images_000.tar']);
  });

  test('counts a connection on which nothing moves as lost', async () => {
    breaks = ({ path, count, response }) =>
      path === first && count === 1 && Boolean(response.writeHead(200, { 'content-length': 10 }).flushHeaders() ?? true);
    expect((await fetched({ limits: { ...limits, idleMs: 200 } })).failed).toEqual([]);
    expect(await got()).toEqual(both);
  });

  test('stops at a full disk and names the folder', async () => {
    const md5 = files.get('/md5sum/train/md5.images_000.txt')?.toString().slice(0, 32);
    const part = join(out(), 'train', `images_000.tar.${md5}.part`);
    await mkdir(dirname(part), { recursive: true });
    // Every write to this device fails as on a full disk.
    await symlink('/dev/full', part);
    await expect(fetched()).rejects.toMatchObject({ code: 'storage_full', message: expect.stringContaining(out()) });
  });

  test('verifies existing tars on request, and downloads broken ones again', async () => {
    await fetched();
    const broken = Buffer.from(files.get(second) ?? '');
    broken[600] = (broken[600] ?? 0) ^ 1;
    await writeFile(join(out(), 'train/images_001.tar'), broken);
    expect((await fetched()).present).toHaveLength(2);
    expect(await fetched({ verify: true })).toMatchObject({ present: ['train/images_000.tar'], fetched: ['train/images_001.tar'] });
    expect(await got()).toEqual(both);
  });
});
