import { expect, test } from 'vitest';
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
