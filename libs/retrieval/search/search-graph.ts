import { encodeModel } from '../onnx/encode-model.ts';

/**
 * The ONNX model of exact search: queries [Q, D] times block [B, D] transposed, then each query's `count` best of the block.
 * TopK puts the lower row first where scores are equal. Every size is free, so one session serves all blocks.
 */
export function searchGraph(): Uint8Array {
  return encodeModel({
    name: 'exact_search',
    opset: 17,
    inputs: [
      { name: 'queries', type: 'float32', shape: ['Q', 'D'] },
      { name: 'block', type: 'float32', shape: ['B', 'D'] },
      { name: 'count', type: 'int64', shape: [1] },
    ],
    outputs: [
      { name: 'values', type: 'float32', shape: ['Q', 'K'] },
      { name: 'rows', type: 'int64', shape: ['Q', 'K'] },
    ],
    nodes: [
      { op: 'Gemm', inputs: ['queries', 'block'], outputs: ['scores'], attributes: { transB: 1 } },
      { op: 'TopK', inputs: ['scores', 'count'], outputs: ['values', 'rows'], attributes: { axis: 1 } },
    ],
  });
}
