import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { rerankSettings } from '@cairn/contract';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { z } from 'zod';
import { type Features, readFeatures } from '../../features/read-features.ts';
import { openParquet } from '../../parquet/open-parquet.ts';
import { openModels } from '../../rerank/open-models.ts';
import { rerankSearch } from '../../rerank/rerank-search.ts';
import { findNeighbours } from '../../search/find-neighbours.ts';

/**
 * `search-side.ts search|product|rerank|rerank-products FOLDER`: one of our sides of the benchmark over the feature sets of FOLDER. Prints
 * what it took as JSON, without the start and, for the bare products, without reading.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    top: { type: 'string', default: '100' },
    threads: { type: 'string', default: '1' },
    'block-rows': { type: 'string', default: '50000' },
    models: { type: 'string', default: '1' },
  },
});
const [part = '', folder = ''] = positionals;
const [topK, threads, blockRows] = [Number(values.top), Number(values.threads), Number(values['block-rows'])];
const parquet = await openParquet();
const open = (...names: string[]): Promise<Features> => readFeatures(join(folder, ...names), parquet);

let wall = 0;
let cpuSeconds = 0;
async function timed<T>(work: () => Promise<T>): Promise<T> {
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  const result = await work();
  wall += (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  cpuSeconds += (user + system) / 1e6;
  return result;
}

/** Queries and rows of one bare product: those of the search. */
const [PRODUCT_QUERIES, PRODUCT_ROWS] = [2048, 1024];

/** Multiplies queries with all rows of a set, block by block, into the same memory; only that is measured. */
async function multiply(queries: Float32Array<ArrayBuffer>, gallery: Features): Promise<void> {
  const { dim } = gallery;
  const session = await InferenceSession.create(join(import.meta.dirname, 'product.onnx'), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const scores = new Float32Array(PRODUCT_QUERIES * PRODUCT_ROWS);
  const tensor = (data: Float32Array<ArrayBuffer>): Tensor => new Tensor('float32', data, [data.length / dim, dim]);
  for (let first = 0; first < gallery.ids.length; first += blockRows) {
    const block = await gallery.read(first, blockRows);
    await timed(async () => {
      for (let query = 0; query * dim < queries.length; query += PRODUCT_QUERIES) {
        const some = queries.subarray(query * dim, (query + PRODUCT_QUERIES) * dim);
        for (let row = 0; row * dim < block.length; row += PRODUCT_ROWS) {
          const rows = block.subarray(row * dim, (row + PRODUCT_ROWS) * dim);
          const shape = [some.length / dim, rows.length / dim];
          const into = new Tensor('float32', scores.subarray(0, (some.length / dim) * (rows.length / dim)), shape);
          await session.run({ queries: tensor(some), block: tensor(rows) }, { scores: into });
        }
      }
    });
  }
  await session.release();
}

const all = (features: Features): Promise<Float32Array<ArrayBuffer>> => features.read(0, features.ids.length);
const modelNames = Array.from({ length: Number(values.models) }, (_, model) => `M${model}`);
if (part === 'search') {
  const [queries, gallery] = [await open('query'), await open('index')];
  const { dim } = gallery;
  const source = { rows: gallery.ids.length, dim, read: gallery.read, readHalf: gallery.readHalf };
  const vectors = { values: await all(queries), dim };
  const { rows } = await timed(() => findNeighbours({ queries: vectors, gallery: source, topK, blockRows, threads }));
  await writeFile(join(folder, 'cairn.i32'), rows);
} else if (part === 'product') {
  await multiply(await all(await open('query')), await open('index'));
} else if (part === 'rerank') {
  const folders = modelNames.map((name) => ({
    name,
    weight: 1,
    queries: join(folder, name, 'query'),
    index: join(folder, name, 'index'),
    references: join(folder, name, 'references'),
    whitening: null,
  }));
  const opened = await openModels({ parquet, models: folders, labels: join(folder, 'labels.parquet') });
  const settings = rerankSettings.parse({ mode: 'before_merge' });
  const { rows } = await timed(() => rerankSearch({ ...opened, settings, topK, blockRows, threads }));
  await writeFile(join(folder, 'cairn.i32'), rows);
} else {
  const seeds = JSON.parse(await readFile(join(folder, 'seeds.json'), 'utf8'));
  for (const name of modelNames) {
    const [queries, index, references] = [await open(name, 'query'), await open(name, 'index'), await open(name, 'references')];
    const [ofQueries, ofIndex] = [await all(queries), await all(index)];
    await multiply(ofQueries, references);
    await multiply(await references.read(0, z.record(z.string(), z.number()).parse(seeds)[name] ?? 0), references);
    await multiply(ofIndex, references);
    await multiply(ofQueries, index);
  }
}
await parquet.close();
const peakMiB = Number(/VmHWM:\s+(\d+) kB/.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? 0) / 1024;
console.log(JSON.stringify({ seconds: wall, cpuSeconds, peakMiB }));
