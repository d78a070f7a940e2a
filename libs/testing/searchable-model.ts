import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { partFile } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { normalizeRow, openModel, openParquet, preprocessImage } from '@cairn/retrieval';
import { writeFeatureModel, writeParts } from '@cairn/retrieval/fixtures';
import { sha256File } from '@cairn/runtime';
import { contentDigest, type ObjectStore } from '@cairn/storage';

const side = 32;
const dim = 8;
const batch = 2;

/**
 * Gives the played steps `prepare`, `export` and `extract_index` of a run real files: a small network, and the features that it extracts of
 * these images. The label of an image is 40 and its place.
 */
export async function storeSearchableModel(
  { prisma, store }: { prisma: PrismaClient; store: ObjectStore },
  runId: string,
  images: readonly { id: string; bytes: Uint8Array }[],
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-searchable-'));
  const parquet = await openParquet();

  async function keep(step: string, names: readonly string[], details?: object): Promise<void> {
    const { artifact } = await prisma.step.findUniqueOrThrow({ where: { runId_name: { runId, name: step } }, include: { artifact: true } });
    if (artifact === null) throw new Error(`the step ${step} has no artifact: play it first`);
    const files = [];
    for (const name of names) {
      const bytes = await readFile(join(folder, name));
      await store.put(`${artifact.prefix}${name}`, bytes);
      files.push({ name, bytes: bytes.length, sha256: await sha256File(join(folder, name)) });
    }
    const manifest = { kind: artifact.kind, id: artifact.id, protocol: 1, createdAt: new Date().toISOString(), files, details: {} };
    await store.put(`${artifact.prefix}manifest.json`, JSON.stringify({ ...manifest, digest: contentDigest(files) }));
    const change = details === undefined ? {} : { details: { ...details } };
    await prisma.artifact.update({ where: { id: artifact.id }, data: { files, bytes: 1_000, ...change } });
  }

  try {
    const path = await writeFeatureModel(folder, { imageSize: side, dim, batch });
    const model = await openModel({ path, device: 'cpu', threads: 1 });
    const features = new Float16Array(images.length * dim);
    for (const [at, { bytes }] of images.entries()) {
      const pixels = await preprocessImage(bytes, { size: side, preprocessing: 'cairn', timeoutMs: 10_000 });
      const padded = new Uint8Array(batch * pixels.length);
      padded.set(pixels);
      normalizeRow(await model.run({ images: padded, batch, imageSize: side, rows: 1 }), features.subarray(at * dim, (at + 1) * dim));
    }
    await model.close();
    await writeParts(parquet, folder, dim, [{ part: 0, ids: images.map(({ id }) => id), features }]);
    await mkdir(dirname(join(folder, 'lists/index.parquet')), { recursive: true });
    await parquet.write({
      path: join(folder, 'lists/index.parquet'),
      columns: { image_id: 'text', path: 'text', label: 'integer', image_number: 'integer' },
      rows: images.map(({ id }, at) => [id, `index/${id}.jpg`, at + 40, at]),
    });
    await keep('prepare', ['lists/index.parquet']);
    await keep('export', ['model.onnx'], { imageSize: side, preprocessing: 'cairn', embeddingDim: dim, cosine: 1 });
    await keep('extract_index', [partFile('embeddings', 0), partFile('metadata', 0)]);
  } finally {
    await parquet.close();
    await rm(folder, { recursive: true });
  }
}
