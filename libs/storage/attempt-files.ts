import type { ObjectStore } from './object-store.ts';

const folder = 'tensorboard';

/**
 * Folders that may hold an attempt's event files for TensorBoard, by key and without a trailing slash: where it stages them, and where they
 * are kept when its staging is removed.
 */
export const tensorBoardFolders = (attemptId: string) => ({
  staged: `staging/${attemptId}/${folder}`,
  kept: `logs/${attemptId}/${folder}`,
});

/** Copies an attempt's staged event files to their permanent folder; repeating it changes nothing. */
export async function keepTensorBoardFiles(store: ObjectStore, attemptId: string, signal?: AbortSignal): Promise<void> {
  const { staged, kept } = tensorBoardFolders(attemptId);
  for await (const { key } of store.list(staged, signal)) await store.copy(key, `${kept}${key.slice(staged.length)}`, signal);
}
