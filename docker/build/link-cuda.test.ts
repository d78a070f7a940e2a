import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';

test('the libraries of all wheels are links in one folder, each by the name that it is opened by', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-cuda-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const packages = join(folder, 'site-packages');
  const files = [
    'cu13/lib/libcublas.so.13',
    'cu13/lib/libcudart_static.a',
    'cu13/include/cuda.h',
    'cudnn/lib/libcudnn.so.9',
    'nccl/lib/libnccl.so.2',
  ];
  for (const file of files) {
    await mkdir(dirname(join(packages, 'nvidia', file)), { recursive: true });
    await writeFile(join(packages, 'nvidia', file), file);
  }
  const cuda = join(folder, 'cuda');
  const link = () => promisify(execFile)(process.execPath, [join(import.meta.dirname, 'link-cuda.mjs'), packages, cuda]);
  await link();
  expect((await readdir(cuda)).sort()).toEqual(['libcublas.so.13', 'libcudnn.so', 'libcudnn.so.9', 'libnccl.so.2']);
  expect(await readFile(join(cuda, 'libcudnn.so'), 'utf8')).toBe('cudnn/lib/libcudnn.so.9');
  // Once more, as on a machine where it ran before.
  await link();
  // A torch for CPUs has none of them.
  await rm(join(packages, 'nvidia'), { recursive: true });
  await rm(cuda, { recursive: true });
  await link();
  expect(await readdir(cuda)).toEqual([]);
});
