import { statfs } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';

/** What the program was doing when the file system failed. */
export type StorageAct = {
  act: 'Reading' | 'Writing' | 'Removing' | 'Listing' | 'Sweeping';
  key: string;
  /** The folder of the store, or the local file. */
  path: string;
  /** Bytes written so far. */
  bytes?: number;
  signal?: AbortSignal | undefined;
};

const fullCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** The error to throw for a failure of the file system: a CairnError, or the reason of an abort. */
export async function storageError(error: unknown, { act, key, path, bytes = 0, signal }: StorageAct): Promise<unknown> {
  if (signal?.aborted) return signal.reason;
  if (error instanceof CairnError) return error;
  const code = codeOf(error);
  const details = { key, path, bytes, code };
  if (act === 'Reading' && (code === 'ENOENT' || code === 'EISDIR' || code === 'ENOTDIR')) {
    return new CairnError('not_found', `There is no object ${key} in ${path}.`, { cause: error, details });
  }
  if (code === 'ELOOP') {
    return new CairnError('invalid_path', `The object ${key} in ${path} is a symbolic link, which is not followed.`, {
      cause: error,
      details,
    });
  }
  if (code !== undefined && fullCodes.has(code)) {
    const message = `No space is left in ${path} for ${key}: ${bytes} bytes were written${await freeBytes(path)}.`;
    return new CairnError('storage_full', message, { cause: error, details });
  }
  const why = error instanceof Error ? error.message : String(error);
  return new CairnError('storage_failed', `${act} ${key} in ${path} failed: ${why}.`, { cause: error, details });
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

async function freeBytes(path: string): Promise<string> {
  const volume = await statfs(path).catch(() => undefined);
  return volume === undefined ? '' : `, ${volume.bavail * volume.bsize} bytes are free`;
}
