import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { createSession, type Device } from '../onnx/create-session.ts';

export type Products = {
  /** Inner products of rows (A x dim) with rows (B x dim), in float64: A x B. Exact for vectors of float16. */
  of(a: Float32Array | Float64Array, b: Float32Array | Float64Array, dim: number): Promise<Float64Array>;
  close(): Promise<void>;
};

/**
 * Opens matrix products in float64. If every similarity counts, not only the best, exact products make the result independent of blocks,
 * threads and the order of shards; they cost twice as much as float32, in a small part of a search.
 */
export async function createProducts({ device, threads }: { device: Device; threads: number }): Promise<Products> {
  async function run(session: InferenceSession, [a, b, dim]: Parameters<Products['of']>): Promise<Float64Array> {
    if (a.length === 0 || b.length === 0) return new Float64Array();
    const { products } = await session.run({
      a: new Tensor('float64', new Float64Array(a), [a.length / dim, dim]),
      b: new Tensor('float64', new Float64Array(b), [b.length / dim, dim]),
    });
    if (!(products?.data instanceof Float64Array)) throw new CairnError('internal', 'The product graph gave no float64 values');
    return products.data;
  }
  const { session } = await createSession({
    model: join(import.meta.dirname, 'products.onnx'),
    what: 'the product graph',
    device,
    threads,
    prove: (opened) => run(opened, [new Float32Array(4), new Float32Array(8), 4]),
  });
  return { of: (...given) => run(session, given), close: () => session.release() };
}
