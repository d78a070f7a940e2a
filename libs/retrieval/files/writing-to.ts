import { CairnError } from '@cairn/contract';

/** Runs `work`, which writes to `place`; running out of space becomes `storage_full`, any other error passes. */
export async function writingTo<T>(place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CairnError || !isNoSpace(cause)) throw cause;
    throw new CairnError('storage_full', `No space is left to write ${place}. Free some space there; nothing half written is kept.`, {
      cause,
    });
  }
}

function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) return true;
  // DuckDB gives no code, only the system's text.
  return /No space left on device|Disk quota exceeded/.test(error.message);
}
