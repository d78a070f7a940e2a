import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { faultOfSession, unresolved } from './cuda-faults.mjs';

const provider = (lines: readonly string[]) =>
  ['\tlinux-vdso.so.1 (0x00007fbd524ad000)', '\tlibcublas.so.13 => /opt/cairn/cuda/libcublas.so.13 (0x00007fbd1)', ...lines].join('\n');

test('symbols of the driver and of the library that loads the provider are not missing', () => {
  const text = provider([
    '\tlibcuda.so.1 => not found',
    'undefined symbol: Provider_GetHost\t(x.so)',
    'undefined symbol: cuTensorMapEncodeTiled\t(x.so)',
  ]);
  expect(unresolved(text)).toEqual([]);
});

test('a library that is not found is named, without each of its symbols', () => {
  const text = provider(['\tlibcurand.so.10 => not found', 'undefined symbol: curandCreateGenerator, version libcurand.so.10\t(x.so)']);
  expect(unresolved(text)).toEqual(['libcurand.so.10']);
});

test('a symbol or a version that a library of another release has not is named', () => {
  const version = "x.so: /lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x.so)";
  const text = provider(['undefined symbol: cudaFree, version libcudart.so.13\t(x.so)', version]);
  expect(unresolved(text)).toEqual(['cudaFree', version]);
});

test('a session must fail because of the missing device and not earlier', () => {
  expect(faultOfSession('... CUDA failure 100: no CUDA-capable device is detected ; GPU=-1')).toBeNull();
  expect(faultOfSession('CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version')).toContain('failure 35');
  expect(faultOfSession('with error: libcurand.so.10: cannot open shared object file')).toContain('libcurand.so.10');
  expect(faultOfSession('')).toContain('no output');
});

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
