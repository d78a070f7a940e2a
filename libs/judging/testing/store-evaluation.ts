import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Transaction } from '@cairn/db';
import { openParquet, writeScores } from '@cairn/retrieval/scores';
import { sha256File } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';

/**
 * Gives the evaluation of a run that a test plays its scores by query, so that a gate can judge it: the average precision of q000, q001 and so
 * on. Evaluations of different galleries cannot be compared.
 */
export async function storeEvaluation(
  { prisma, store }: { prisma: Transaction; store: ObjectStore },
  { runId, scores, gallery = 'a' }: { runId: string; scores: readonly number[]; gallery?: 'a' | 'b' },
): Promise<void> {
  const { artifact } = await prisma.step.findFirstOrThrow({ where: { runId, kind: 'evaluate' }, select: { artifact: true } });
  if (artifact === null) throw new Error(`run ${runId} has not been evaluated`);
  const folder = await mkdtemp(join(tmpdir(), 'cairn-evaluation-'));
  const parquet = await openParquet();
  try {
    const queries = scores.map((averagePrecision, at) => ({
      ...{
        queryId: `q${String(at).padStart(3, '0')}`,
        usage: 'Private' as const,
        averagePrecision,
        averagePrecisionReference: averagePrecision,
      },
      ...{ groundTruths: 2, hits: 1, firstHit: 1, firstWrong: null },
    }));
    const searched = { gallery: { digest: gallery.repeat(64), rows: 1000 }, groundTruthDigest: 'of all' };
    await writeScores(parquet, { out: folder, metrics: {}, scores: { ...searched, queries } });
    const file = join(folder, 'per_query.parquet');
    const bytes = await readFile(file);
    await store.put(`${artifact.prefix}per_query.parquet`, bytes);
    const files = [{ name: 'per_query.parquet', bytes: bytes.length, sha256: await sha256File(file) }];
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
    const recorded = { galleryDigest: gallery.repeat(64), galleryRows: 1000, groundTruthDigest: 'of all' };
    const mapAt100 = { kaggle: { all: mean, private: mean, public: null }, reference: mean };
    await prisma.artifact.update({ where: { id: artifact.id }, data: { files, details: { mapAt100, ...recorded } } });
  } finally {
    await parquet.close();
    await rm(folder, { recursive: true, force: true });
  }
}
