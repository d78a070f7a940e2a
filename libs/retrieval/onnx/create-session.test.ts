import { expect, test } from 'vitest';
import { assertOnCuda } from './create-session.ts';

const onCuda = { node: 'Conv_0', op: 'Conv', provider: 'CUDAExecutionProvider' };

test('a model is on the GPU when all its heavy nodes are', () => {
  const shape = { node: 'Shape_1', op: 'Shape', provider: 'CPUExecutionProvider' };
  expect(() => assertOnCuda([onCuda, shape], 'the model')).not.toThrow();
});

test('a single product on the CPU is named', () => {
  const product = { node: 'Gemm_9', op: 'Gemm', provider: 'CPUExecutionProvider' };
  expect(() => assertOnCuda([onCuda, product], 'the model')).toThrow('1 of 2 nodes ran on CUDA, but Gemm_9 on CPUExecutionProvider');
});

test('a model without any node on the GPU is not on the GPU', () => {
  expect(() => assertOnCuda([], 'the model')).toThrow('0 of 0 nodes ran on CUDA');
});
