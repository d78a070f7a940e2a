import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findNeighbours, readNpyHeader, readNpyRows } from '@cairn/retrieval';

/**
 * `vector-search.ts --folder F --top K --block-rows N --device cuda|cpu`: exact search of queries.npy in index.npy; writes rows.i32
 * and prints the seconds.
 */
const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: '' },
    top: { type: 'string', default: '100' },
    'block-rows': { type: 'string', default: '50000' },
    device: { type: 'string', default: 'cpu' },
  },
});
async function open(name: string) {
  const path = join(values.folder, name);
  const header = await readNpyHeader(path);
  return {
    ...header,
    async read(first: number, count: number) {
      const into = new Float32Array(Math.min(count, header.rows - first) * header.dim);
      await readNpyRows(path, header, first, into);
      return into;
    },
  };
}
const [queries, gallery] = await Promise.all([open('queries.npy'), open('index.npy')]);
const began = performance.now();
const found = await findNeighbours({
  queries: { values: await queries.read(0, queries.rows), dim: queries.dim },
  gallery,
  topK: Number(values.top),
  blockRows: Number(values['block-rows']),
  threads: availableParallelism(),
  device: values.device === 'cuda' ? 'cuda' : 'cpu',
});
const seconds = (performance.now() - began) / 1000;
await writeFile(join(values.folder, 'rows.i32'), found.rows);
console.log(JSON.stringify({ queries: queries.rows, rows: gallery.rows, k: found.k, seconds }));
