import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { encodeModel } from './encode-model.ts';
import { integerField } from './protobuf.ts';

test('integers are written seven bits a byte, the lowest first', () => {
  expect([...integerField(1, 0)]).toEqual([0x08, 0x00]);
  expect([...integerField(1, 127)]).toEqual([0x08, 0x7f]);
  expect([...integerField(1, 300)]).toEqual([0x08, 0xac, 0x02]);
  expect([...integerField(16, 2 ** 40)]).toEqual([0x80, 0x01, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
  expect(() => integerField(1, -1)).toThrow('-1 is not an integer');
});

test('ONNX Runtime reads names, types, sizes, attributes and constants as they were given', async () => {
  const weights = Float32Array.from({ length: 200 * 2 }, (_, index) => index);
  const session = await InferenceSession.create(
    encodeModel({
      name: 'test',
      opset: 17,
      inputs: [{ name: 'left', type: 'float32', shape: ['rows', 200] }],
      outputs: [{ name: 'sums', type: 'float32', shape: [1, 2] }],
      initializers: [{ name: 'weights', type: 'float32', shape: [200, 2], data: new Uint8Array(weights.buffer) }],
      nodes: [
        { op: 'MatMul', inputs: ['left', 'weights'], outputs: ['product'] },
        { op: 'ReduceSumSquare', inputs: ['product'], outputs: ['sums'], attributes: { axes: [0], keepdims: 1 } },
      ],
    }),
  );
  expect(session.inputMetadata).toMatchObject([{ name: 'left', type: 'float32', shape: ['rows', 200] }]);
  const left = Float32Array.from({ length: 400 }, (_, index) => (index === 3 || index === 200 ? 1 : 0));
  const { sums } = await session.run({ left: new Tensor('float32', left, [2, 200]) });
  // Row 0 picks the weights 6 and 7, row 1 the weights 0 and 1.
  expect(sums?.data).toEqual(Float32Array.of(36, 50));
  await session.release();
});
