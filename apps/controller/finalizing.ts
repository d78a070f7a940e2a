import { isCairnError, protocol } from '@cairn/contract';
import { artifactReady, dropStaging, type Finalization, finalizationDelayed, finalizationFailed, pendingFinalization } from '@cairn/engine';
import { commitArtifact, keepTensorBoardFiles } from '@cairn/storage';
import type { ControllerParts } from './parts.ts';

/**
 * Makes the artifact of a step that one attempt did, unless there is nothing to make any more, and removes what the step's attempts staged
 * once its result is in its place. Any replica may do it, and several at once: all write the same bytes to the same keys, and the row
 * decides whose word counts.
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
    // What was staged is not what was promised: start over. A storage that fails or is full keeps what it has.
    const isStorage = isCairnError(error, 'storage_failed', 'storage_full');
    await (isStorage ? finalizationDelayed : finalizationFailed)(ctx, finalization, failure);
  }
}
