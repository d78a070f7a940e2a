import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Transaction } from '@cairn/db';
import { openParquet, writeScores } from '@cairn/retrieval/scores';
import { sha256 } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';

type Scored = { scores: readonly number[]; gallery?: 'a' | 'b' | 'c' };

/**
 * What an evaluation makes: the bytes of `per_query.parquet`, with the average precision of q000, q001 and so on, and the details of the
 * artifact. Evaluations of different galleries cannot be compared.
 */
export async function scoredEvaluation({ scores, gallery = 'a' }: Scored): Promise<{ bytes: Buffer; details: Record<string, unknown> }> {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-evaluation-'));
  const parquet = await openParquet();
  try {
    const queries = scores.map((averagePrecision, at) => ({
      ...{
        queryId: `q${String(at).padStart(3, '0')}`,
        usage: 'Private' as const,
        continent: null,
        averagePrecision,
        averagePrecisionReference: averagePrecision,
      },
      ...{ groundTruths: 2, hits: 1, firstHit: 1, firstWrong: null, hitsAt: null },
    }));
    const recorded = { galleryDigest: gallery.repeat(64), galleryRows: 1000, groundTruthDigest: 'of all' };
    const searched = {
      gallery: { digest: recorded.galleryDigest, rows: recorded.galleryRows },
      groundTruthDigest: recorded.groundTruthDigest,
    };
    await writeScores(parquet, { out: folder, metrics: {}, scores: { ...searched, queries } });
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
    const mapAt100 = { kaggle: { all: mean, private: mean, public: null }, reference: mean };
    return { bytes: await readFile(join(folder, 'per_query.parquet')), details: { mapAt100, ...recorded } };
  } finally {
    await parquet.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Gives the evaluation of a run that a test plays its scores by query, so that a gate can judge it. */
export async function storeEvaluation(
  { prisma, store }: { prisma: Transaction; store: ObjectStore },
  { runId, ...scored }: Scored & { runId: string },
): Promise<void> {
  const { artifact } = await prisma.step.findFirstOrThrow({ where: { runId, kind: 'evaluate' }, select: { artifact: true } });
  if (artifact === null) throw new Error(`run ${runId} has not been evaluated`);
  const { bytes, details } = await scoredEvaluation(scored);
  await store.put(`${artifact.prefix}per_query.parquet`, bytes);
  const files = [{ name: 'per_query.parquet', bytes: bytes.length, sha256: sha256(bytes) }];
  await prisma.artifact.update({ where: { id: artifact.id }, data: { files, details: details as object } });
}
