import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { partFile } from '@cairn/contract';
import { imagePath } from '@cairn/dataset';
import type { PrismaClient } from '@cairn/db';
import { evaluateNeighbours, galleryOf, openParquet, writeNeighbours } from '@cairn/retrieval';
import { sha256File } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { plainPng } from './plain-png.ts';

export { imagePath };

export type SearchedQuery = { id: string; truths: readonly string[]; found: readonly string[] };

/**
 * Gives the played steps `prepare`, `search` and `evaluate` of a run real files: the lists of these images, what the search found, and its
 * scores. An image has the label of its place in `gallery`, ten to a label; every second query is in Asia.
 */
export async function storeSearchResults(
  { prisma, store }: { prisma: PrismaClient; store: ObjectStore },
  runId: string,
  { gallery, queries }: { gallery: readonly string[]; queries: readonly SearchedQuery[] },
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-results-'));
  const parquet = await openParquet();
  const path = async (name: string): Promise<string> => {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    return join(folder, name);
  };
  const list = async (name: string, split: 'index' | 'test' | 'train', ids: readonly string[]): Promise<void> =>
    parquet.write({
      path: await path(name),
      columns: { image_id: 'text', path: 'text', label: 'integer', image_number: 'integer', continent: 'text' },
      rows: ids.map((id, at) => [id, imagePath(split, id), Math.floor(at / 10), at, at % 2 === 0 ? 'Asia' : null]),
    });
  const keep = async (step: string, names: readonly string[], details?: object): Promise<void> => {
    const { artifact } = await prisma.step.findUniqueOrThrow({ where: { runId_name: { runId, name: step } }, include: { artifact: true } });
    if (artifact === null) throw new Error(`the step ${step} has no artifact: play it first`);
    const files = [];
    for (const name of names) {
      const bytes = await readFile(join(folder, name));
      await store.put(`${artifact.prefix}${name}`, bytes);
      files.push({ name, bytes: bytes.length, sha256: await sha256File(join(folder, name)) });
    }
    const change = details === undefined ? {} : { details: { ...details } };
    await prisma.artifact.update({ where: { id: artifact.id }, data: { files, fileCount: files.length, ...change } });
  };
  try {
    await list('lists/index.parquet', 'index', gallery);
    const queryIds = queries.map(({ id }) => id);
    await list('lists/query.parquet', 'test', queryIds);
    const truths = queries.flatMap(({ id, truths: images }, at) =>
      images.map((imageId) => [id, imageId, at % 2 === 0 ? 'Private' : 'Public']),
    );
    const columns = { query_id: 'text', image_id: 'text', usage: 'text' } as const;
    await parquet.write({ path: await path('lists/ground_truth.parquet'), columns, rows: truths });
    const neighbours = new Map(
      queries.map(({ id, found }) => [id, { imageIds: found, scores: found.map((_, at) => 1 - at / (2 * found.length)) }]),
    );
    await writeNeighbours(parquet, await path('neighbours.parquet'), { gallery: galleryOf(gallery), topK: 100, neighbours });
    const metrics = await evaluateNeighbours({
      parquet,
      neighbours: join(folder, 'neighbours.parquet'),
      groundTruth: join(folder, 'lists/ground_truth.parquet'),
      queryList: join(folder, 'lists/query.parquet'),
      atK: 100,
      out: folder,
    });
    await keep('prepare', ['lists/index.parquet', 'lists/query.parquet', 'lists/ground_truth.parquet']);
    await keep('search', ['neighbours.parquet']);
    await keep('evaluate', ['metrics.json', 'per_query.parquet'], metrics);
  } finally {
    await parquet.close();
    await rm(folder, { recursive: true });
  }
}

/** Writes pictures of one colour each to the folder of a dataset. */
export async function drawImages(root: string, split: 'index' | 'test' | 'train', ids: readonly string[]): Promise<void> {
  for (const [at, id] of ids.entries()) {
    const path = join(root, imagePath(split, id));
    await mkdir(dirname(path), { recursive: true });
    const hue = (at * 47) % 200;
    await writeFile(path, plainPng({ width: at % 3 === 0 ? 90 : 120, height: 90, colour: [55 + hue, 120, 255 - hue] }));
  }
}

/** Stores the file of rejected images of an attempt's first shard, as its worker does. */
export async function storeRejected(
  store: ObjectStore,
  attempt: string,
  images: readonly (readonly [id: string, path: string, reason: string])[],
) {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-rejected-'));
  const parquet = await openParquet();
  try {
    const path = join(folder, 'rejected.parquet');
    await parquet.write({ path, columns: { image_id: 'text', path: 'text', reason: 'text' }, rows: images });
    const name = partFile('rejected', 0);
    const key = `staging/${attempt}/${name}`;
    const bytes = await readFile(path);
    await store.put(key, bytes);
    return { name, key, bytes: bytes.length, sha256: await sha256File(path) };
  } finally {
    await parquet.close();
    await rm(folder, { recursive: true });
  }
}
