import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeMiniDataset } from '@cairn/mini-dataset';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

let folder: string;
let server: Server;
let from: string;
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-tars-'));
  const one = { cleanLandmarks: 1, fullOnlyLandmarks: 0, indexOnlyLandmarks: 0, twins: 0, strays: 1, scoredQueries: 1, ignoredQueries: 1 };
  const ranges = { cleanImages: [6, 6], extraImages: [0, 0], fullOnlyImages: [0, 0], indexImages: [4, 4] } as const;
  await makeMiniDataset({ out: path('mini'), seed: 3, counts: { ...one, ...ranges } });
  server = createServer((request, response) => {
    // A proxy gets the whole address.
    readFile(path(`mini/tars${new URL(request.url ?? '', from).pathname}`)).then(
      (bytes) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  from = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

test('tars are fetched, and then indexed', async () => {
  const fetched = await runTestCli([
    'tars',
    'fetch',
    '--from',
    from,
    '--out',
    path('tars'),
    '--splits',
    'train,index',
    '--numbers',
    '0-2,3',
  ]);
  expect(fetched).toMatchObject({ code: 0, out: expect.stringMatching(/^8 tars fetched, [\d.]+ kB in /) });
  expect(fetched.err).toContain('8/8 tars');
  expect(await readdir(path('tars/train'))).toEqual(['images_000.tar', 'images_001.tar', 'images_002.tar', 'images_003.tar']);
  const again = await runTestCli([
    'tars',
    'fetch',
    '--from',
    from,
    '--out',
    path('tars'),
    '--splits',
    'train',
    '--numbers',
    '0-3',
    '--json',
  ]);
  expect(JSON.parse(again.out)).toMatchObject({ fetched: [], present: { length: 4 }, failed: [], bytes: 0 });

  const { code, out } = await runTestCli(['tars', 'index', path('tars')]);
  expect(code).toBe(0);
  // The fifth tar of train was not fetched: it has one of the six images.
  expect(out).toMatch(/train {2}5 images in 4 tars\nindex {2}5 images in 4 tars\nIndexed in /);
  expect((await readdir(path('tars/tars-index'))).toSorted()).toEqual(['index.json', 'index.parquet', 'parts', 'train.parquet']);
  expect((await runTestCli(['tars', 'index', path('tars')])).out).toContain('train  5 images in 4 tars  (4 already indexed)');
});

test('tars are fetched through the proxy of the environment, which is printed', async () => {
  const main = join(import.meta.dirname, '../main.ts');
  const args = ['tars', 'fetch', '--from', 'http://landmarks.invalid', '--out', path('proxied'), '--splits', 'train', '--numbers', '0'];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [main, ...args], {
    env: { HTTP_PROXY: from, PATH: process.env.PATH },
  });
  expect(stdout).toContain('1 tar fetched');
  expect(stderr).toContain(`http by ${new URL(from).host}`);
});

test('a tar that cannot be downloaded is named, and the command fails', async () => {
  const { code, out } = await runTestCli(['tars', 'fetch', '--from', from, '--out', path('some'), '--splits', 'test', '--numbers', '1,2']);
  expect(code).toBe(1);
  expect(out).toMatch(/^test\/images_002\.tar {2}http.* not found or not accessible: the server returned 404/);
  expect(out).toContain('1 tar failed. Run the same command again');
});

test('wrong usage is reported', async () => {
  expect((await runTestCli(['tars', 'index', path('mini')])).err).toContain(
    'has no tars: put images_NNN.tar into its folders train/, index/, test/',
  );
  expect((await runTestCli(['tars', 'fetch', '--out', path('x'), '--numbers', '9-3'])).err).toContain(
    '"9-3" is not a number or range such as 0-9.',
  );
  expect((await runTestCli(['tars', 'fetch', '--out', path('x'), '--from', 'nowhere'])).err).toContain(
    'is not an address such as https://',
  );
  expect((await runTestCli(['tars', 'fetch', '--out', path('x'), '--splits', 'tests'])).err).toContain(
    '"tests" is not one of train, index, test.',
  );
});
