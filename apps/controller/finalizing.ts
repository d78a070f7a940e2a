import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isCairnError, protocol } from '@cairn/contract';
import { artifactReady, dropStaging, type Finalization, finalizationFailed, pendingFinalization } from '@cairn/engine';
import { openParquet, proveCounts, readImageIds } from '@cairn/retrieval';
import { commitArtifact, keepTensorBoardFiles } from '@cairn/storage';
import type { Reign } from './parts.ts';

/**
 * Makes a step's artifact of what its attempts staged: proves a feature set's counts, copies the parts out of staging, writes
 * the manifest last, and tells the engine. Every part may run again after a crash and ends the same.
 */
export async function finalizeStep(
  reign: Pick<Reign, 'ctx' | 'store'>,
  stepId: string,
  generation: number,
  signal: AbortSignal,
): Promise<void> {
  const { ctx, store } = reign;
  const finalization = await pendingFinalization(ctx, stepId, generation);
  if (!finalization) return;
  try {
    const proof = finalization.extraction ? await proveExtraction(reign, finalization, finalization.extraction, signal) : {};
    const details = { ...finalization.details, ...proof };
    const prefix = finalization.prefix.replace(/\/$/, '');
    const files = finalization.files.map(({ name, key, bytes, sha256 }) => ({ name, from: key, bytes, sha256 }));
    const identity = { kind: finalization.kind, id: finalization.artifactId, protocol, createdAt: finalization.createdAt.toISOString() };
    const manifest = await commitArtifact(store, { prefix, files, manifest: { ...identity, details }, signal });
    await artifactReady(ctx, finalization, { digest: manifest.digest, files: manifest.files, details });
  } catch (error) {
    // What was staged is not what was promised: start over. A storage that fails or is full is tried again by the reconciler.
    if (!isCairnError(error, 'corrupt_artifact', 'not_found')) throw error;
    await finalizationFailed(ctx, finalization, { cause: 'infrastructure', code: error.code, message: error.message });
    return;
  }
  for (const { attemptId, prefix } of await dropStaging(ctx, stepId)) {
    await keepTensorBoardFiles(store, attemptId, signal);
    await store.removePrefix(prefix.replace(/\/$/, ''), signal);
  }
}

/** Reads the ids of every part back and proves: rows + rejected = the list's distinct ids, none twice. */
async function proveExtraction(
  { store }: Pick<Reign, 'store'>,
  finalization: Finalization,
  extraction: NonNullable<Finalization['extraction']>,
  signal: AbortSignal,
) {
  const folder = await mkdtemp(path.join(tmpdir(), 'cairn-proof-'));
  const parquet = await openParquet();
  try {
    const list = path.join(folder, 'list.parquet');
    await store.download(`lists/${extraction.listsArtifact}/lists/${extraction.list}.parquet`, list, { signal });
    const ids = async (part: 'metadata' | 'rejected'): Promise<string[]> => {
      const files = finalization.files.filter((file) => file.name.startsWith(`${part}/`));
      const local = files.map((file) => path.join(folder, file.name.replaceAll('/', '-')));
      for (const [index, file] of files.entries()) await store.download(file.key, local[index] ?? '', { sha256: file.sha256, signal });
      const read: string[][] = [];
      for (const file of local) read.push(await readImageIds(parquet, file, signal));
      return read.flat();
    };
    return {
      countProof: proveCounts({
        list: await readImageIds(parquet, list, signal),
        features: await ids('metadata'),
        rejected: await ids('rejected'),
      }),
    };
  } finally {
    await parquet.close();
    await rm(folder, { recursive: true, force: true });
  }
}
