import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AttemptSpecOf } from '@cairn/contract';
import { packTars, planExtraction, readList } from '@cairn/dataset';
import { isolatedPython, sha256 } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { startS3, startS3Proxy, trainerPython } from '@cairn/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openAttempt } from '../testing/open-attempt.ts';
import { specOf } from '../testing/specs.ts';
import { withImageSocket } from './image-socket.ts';

vi.setConfig({ testTimeout: 60_000 });

test("the trainer reads a bucket's images through the agent, each once from there, and learns which is bad or changed", async () => {
  const s3 = await startS3();
  const proxy = await startS3Proxy(s3.port);
  onTestFinished(async () => {
    await proxy.close();
    await s3.stop();
  });
  for (const [name, value] of Object.entries(s3.env)) vi.stubEnv(name, value);
  const { context, folder, plane, reporter } = await openAttempt(specOf('train'));
  const ids = ['aaa1', 'aaa2', 'aaa3'];
  const images = ids.map((id) => ({ id, read: async () => Buffer.from(`pixels of ${id}`) }));
  const bucket = openStore(s3.url('glr'));
  for (const path of await packTars(join(folder, 'tars'), 'train', images, 1)) await bucket.put(path, { file: join(folder, 'tars', path) });

  const root = `s3://${s3.bucket}/glr`;
  const datasetRoots = [`${root}?endpoint=${proxy.endpoint}`];
  const list = join(folder, 'ids.txt');
  await writeFile(list, ids.join('\n'));
  const out = join(folder, 'list.parquet');
  await planExtraction({ list, source: { kind: 'tars', root }, places: datasetRoots, out });
  const places = (await Array.fromAsync(readList(out))).flat();
  const asked: string[] = [];
  proxy.decide = (method, target) => {
    asked.push(`${method} ${target}`);
    return 'pass';
  };

  const digests = images.map(({ id }) => sha256(`pixels of ${id}`));
  const [first] = places;
  const wrong = [...places, { ...first, fileBytes: 7 }, { ...first, size: 0 }];
  const imageCache = { folder: join(folder, 'cache'), bytes: 2 ** 20 };
  await mkdir(imageCache.folder);
  const spec = { ...context.spec, source: { ...context.spec.source, root } } satisfies AttemptSpecOf<'train'>;
  await withImageSocket({ ...context, spec, datasetRoots, imageCache }, async ({ spec: { source } }) => {
    const script = join(import.meta.dirname, '../testing/read_images.py');
    const { stdout } = await promisify(execFile)(trainerPython(), isolatedPython(script, [source.root, JSON.stringify(wrong)]));
    const [whole, forked] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(whole.slice(0, 3)).toEqual(digests);
    expect(whole[3]).toMatch(/^dataset_changed: .*images_000.tar is \d+ bytes.*; expected 7 bytes/);
    expect(whole[4]).toMatch(/^bad: .* has no bytes/);
    expect(forked.toReversed()).toEqual(whole);
    return { outcome: 'succeeded', files: [], details: {} };
  });
  await reporter.flush();
  const curves = plane.items('metrics').map(({ name, steps, values }) => [name, steps[0], values[0]]);
  expect(curves).toContainEqual(['image_cache_hit_share', 1, 0]);
  expect(curves.map(([name]) => name)).toEqual(expect.arrayContaining(['image_cache_gib', 'image_cache_evicted_gib']));
  // One for each image, kept for the forked process; a tar that is not the list's is asked for each time.
  expect(asked.filter((line) => line.startsWith('GET')).length).toBe(5);
});
