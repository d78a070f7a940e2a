import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { tensorBoardFolders } from '@cairn/storage';
import type { AttemptContext } from '../agent/attempt-context.ts';

/** Stores the event files that the trainer has written for TensorBoard. A failure is told and ends nothing: the curves are kept as metrics too. */
export async function storeTensorBoardFiles({ spec, store, stop, reporter, log }: AttemptContext, folder: string): Promise<void> {
  try {
    // A trainer that ended before its first step has none.
    const names = await readdir(folder).catch((): string[] => []);
    const { staged } = tensorBoardFolders(spec.attempt.id);
    for (const name of names) await store.put(`${staged}/${name}`, { file: join(folder, name) }, { signal: stop.ended });
  } catch (error) {
    if (stop.ended.aborted) return;
    log.warn({ err: error }, 'the files for TensorBoard were not stored');
    const why = error instanceof Error ? error.message : String(error);
    reporter.tell({ type: 'note', level: 'warning', message: `The files for TensorBoard were not stored: ${why}` });
  }
}
