import { isCairnError, protocol } from '@cairn/contract';
import { artifactReady, dropStaging, type Finalization, finalizationDelayed, finalizationFailed, pendingFinalization } from '@cairn/engine';
import { commitArtifact, keepTensorBoardFiles } from '@cairn/storage';
import type { ControllerParts } from './parts.ts';

/**
 * Makes the artifact of a step that one attempt did, unless it is no longer pending, and removes the staged files of the step's attempts
 * once its result is stored. Any replica may do it, and several in parallel: all write the same bytes to the same keys, and the row decides
 * which one counts.
 */
export async function finalizeStep(
  parts: Pick<ControllerParts, 'ctx' | 'store'>,
  stepId: string,
  generation: number,
  signal: AbortSignal,
): Promise<void> {
  const finalization = await pendingFinalization(parts.ctx, stepId, generation);
  if (finalization) await makeArtifact(parts, finalization, signal);
  for (const { attemptId, prefix } of await dropStaging(parts.ctx, stepId, generation)) {
    await keepTensorBoardFiles(parts.store, attemptId, signal);
    await parts.store.removePrefix(prefix.replace(/\/$/, ''), signal);
  }
}

async function makeArtifact(
  { ctx, store }: Pick<ControllerParts, 'ctx' | 'store'>,
  finalization: Finalization,
  signal: AbortSignal,
): Promise<void> {
  const { kind, artifactId: id, details } = finalization;
  try {
    const manifest = await commitArtifact(store, {
      prefix: finalization.prefix.replace(/\/$/, ''),
      files: finalization.files.map(({ name, key, bytes, sha256 }) => ({ name, from: key, bytes, sha256 })),
      manifest: { kind, id, protocol, createdAt: finalization.createdAt.toISOString(), details },
      signal,
    });
    await artifactReady(ctx, finalization, { digest: manifest.digest, files: manifest.files, details });
  } catch (error) {
    if (signal.aborted || !isCairnError(error, 'corrupt_artifact', 'not_found', 'storage_failed', 'storage_full')) throw error;
    const failure = { cause: 'infrastructure', code: error.code, message: error.message } as const;
    // Staged files that differ from what was reported: start over. When the storage fails or is full, the staged files stay.
    const isStorage = isCairnError(error, 'storage_failed', 'storage_full');
    await (isStorage ? finalizationDelayed : finalizationFailed)(ctx, finalization, failure);
  }
}
