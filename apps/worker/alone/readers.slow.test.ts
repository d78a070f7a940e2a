import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeFeatureModel } from '@cairn/retrieval/fixtures';
import { bareEnvironment, pythonWith } from '@cairn/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openAloneWorld } from '../testing/alone.ts';
import { makeImages } from '../testing/images.ts';

vi.setConfig({ testTimeout: 900_000 });

const run = promisify(execFile);

test('the features of an extraction are read unchanged by the tools of others, and so are its exports', async ({ signal }) => {
  const python = await pythonWith(join(import.meta.dirname, '../testing/readers.txt'), signal);
  const world = await openAloneWorld();
  onTestFinished(world.close);
  const { folder } = world;
  // Parts of 97 rows but for the last, and two that are no images. Some ids come twice.
  const { ids } = makeImages(join(folder, 'more'), 400, [100, 300]);
  const images = new Set(ids).size;
  const list = join(folder, 'more.txt');
  await writeFile(list, ids.map((id) => `${id}\n`).join(''));
  const model = await writeFeatureModel(folder, { imageSize: 8, dim: 32 });
  const source = { kind: 'folder' as const, root: join(folder, 'more') };
  const { result } = await world.run(world.jobOf('set', { model, list, source, shardRows: 97, batch: 16 }));
  expect(result).toMatchObject({ images, rows: images - 2, rejected: 2, shards: 4 });

  const [set, exported] = [join(folder, 'set'), join(folder, 'exported')];
  const cairn = join(import.meta.dirname, '../../cli/main.ts');
  const libraries = ['--faiss', '--usearch', '--npy', '--lance'];
  const env = { ...bareEnvironment(), HOME: folder, CAIRN_PYTHON: python };
  await run(process.execPath, [cairn, 'features', 'export', set, ...libraries, '--out', exported], { env, signal });

  const { stdout } = await run(python, ['-I', join(import.meta.dirname, '../testing/read_features.py'), set, exported], { signal });
  const all = { rows: images - 2, same: true };
  expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toEqual({
    numpy: { rows: images - 2, parts: 4, type: 'float16', dim: 32 },
    'embedding-reader': all,
    autofaiss: all,
    duckdb: { ...all, rejected: [ids[300], ids[100]] },
    npy: all,
    faiss: all,
    usearch: all,
    lance: { ...all, nearest: true },
  });
});
