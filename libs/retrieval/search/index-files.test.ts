import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sha256File } from '@cairn/runtime';
import { seededRandom, trainerPython } from '@cairn/testing';
import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { exportIndexes } from './index-files.ts';
import { readNeighbours } from './neighbours-file.ts';
import { searchExact } from './search-exact.ts';

vi.setConfig({ testTimeout: 120_000 });

/** Opens the files with their own libraries, and answers the ids of the nearest images of each query, by library. */
const open = `
import json, sys, faiss, numpy as np, pyarrow.parquet as pq
from usearch.index import Index
folder, queries, k = sys.argv[1], np.load(sys.argv[2]).astype(np.float32), int(sys.argv[3])
ids = pq.read_table(f'{folder}/ids.parquet')['image_id'].to_pylist()
flat = faiss.read_index(f'{folder}/index.faiss')
graph = Index.restore(f'{folder}/index.usearch')
names = lambda rows: [[ids[row] for row in some] for some in rows]
print(json.dumps({
    'kind': [type(flat).__name__, flat.d, flat.ntotal, flat.metric_type == faiss.METRIC_INNER_PRODUCT, graph.ndim, len(graph), graph.metric_kind.name],
    'faiss': names(flat.search(queries, k)[1].tolist()),
    'usearch': names(graph.search(queries, k, exact=True).keys.tolist()),
    'graph': names(graph.search(queries, k).keys.tolist()),
}))
`;
const found = z.array(z.array(z.string()));
const answer = z.object({ kind: z.array(z.unknown()), faiss: found, usearch: found, graph: found });

test('faiss and usearch open the index of a gallery, and find in it what our search finds', async () => {
  const [rows, dim, k] = [20_000, 24, 10];
  const [parquet, folder] = [await testParquet(), await temporaryFolder()];
  const next = seededRandom(2);
  const ids = imageIds(rows, 'g')
    .map((id) => ({ id, key: next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ id }) => id);
  const values = randomFeatures(rows, dim, 3);
  const part = (number: number, from: number, to: number) => ({
    ...{ part: number, ids: ids.slice(from, to) },
    features: values.slice(from * dim, to * dim),
  });
  const [index, queries] = [join(folder, 'index'), join(folder, 'queries')];
  // More rows than are read at a time, in another order than that of their ids.
  await writeParts(parquet, index, dim, [part(0, 0, 17_000), part(1, 17_000, rows)]);
  await writeParts(parquet, queries, dim, [{ part: 0, ids: imageIds(25, 'q'), features: randomFeatures(25, dim, 9) }]);
  const out = join(folder, 'indexes');
  const manifest = await exportIndexes({ parquet, dir: index, libraries: ['faiss', 'usearch'], out, threads: 2 });
  expect(JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'))).toEqual(manifest);
  expect(manifest).toMatchObject({ gallery: { rows }, indexFiles: { ids: 'ids.parquet', rows } });
  expect(manifest.files.map(({ name }) => name)).toEqual(['ids.parquet', 'index.faiss', 'index.usearch']);
  for (const { name, sha256 } of manifest.files) expect(await sha256File(join(out, name))).toBe(sha256);

  const { file } = await searchExact({ parquet, queries, index, topK: k, blockRows: 4096, threads: 1, out: join(folder, 'n.parquet') });
  const ours = [...(await readNeighbours(parquet, file.path)).neighbours.values()].map((ranked) => ranked.imageIds);
  const args = ['-I', '-c', open, out, join(queries, 'img_emb/img_emb_00000.npy'), String(k)];
  const { stdout } = await promisify(execFile)(trainerPython(), args, { maxBuffer: 2 ** 26 });
  const { kind, faiss, usearch, graph } = answer.parse(JSON.parse(stdout));
  expect(kind).toEqual(['IndexFlatIP', dim, rows, true, dim, rows, 'IP']);
  expect(faiss).toEqual(ours);
  expect(usearch).toEqual(ours);
  // The graph is approximate; in 24 dimensions it finds most.
  const shared = ours.flatMap((ranked, query) => ranked.filter((id) => graph[query]?.includes(id)));
  expect(shared.length / (25 * k)).toBeGreaterThan(0.8);
});
