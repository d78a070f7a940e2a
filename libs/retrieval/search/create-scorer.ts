import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { createSession, type Device } from '../onnx/create-session.ts';

/** A block's `count` best rows of each query, by float32 score, the best first: queries x count. */
export type Best = { count: number; values: Float32Array; rows: BigInt64Array };

export type Scorer = {
  /** Queries (Q x dim) against a block (B x dim); `wanted` rows of each, or all of the block. */
  best(queries: Float32Array<ArrayBuffer>, block: Float32Array<ArrayBuffer>, dim: number, wanted: number): Promise<Best>;
  close(): Promise<void>;
};

/** Opens the matrix products of exact search. Vectors of any length go through the same session. */
export async function createScorer({ device, threads }: { device: Device; threads: number }): Promise<Scorer> {
  async function run(session: InferenceSession, [queries, block, dim, wanted]: Parameters<Scorer['best']>): Promise<Best> {
    const count = Math.min(wanted, block.length / dim);
    const { values, rows } = await session.run({
      queries: new Tensor('float32', queries, [queries.length / dim, dim]),
      block: new Tensor('float32', block, [block.length / dim, dim]),
      count: new Tensor('int64', BigInt64Array.of(BigInt(count)), [1]),
    });
    if (!(values?.data instanceof Float32Array) || !(rows?.data instanceof BigInt64Array)) {
      throw new CairnError('internal', 'The search graph gave neither float32 scores nor int64 rows');
    }
    return { count, values: values.data, rows: rows.data };
  }

  const { session } = await createSession({
    model: join(import.meta.dirname, 'search.onnx'),
    what: 'the search graph',
    device,
    threads,
    prove: (opened) => run(opened, [new Float32Array(4), new Float32Array(8), 4, 1]),
  });
  return { best: (...given) => run(session, given), close: () => session.release() };
}
