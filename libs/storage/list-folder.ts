import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ListedObject } from './object-store.ts';
import { codeOf } from './storage-error.ts';

/**
 * The files under `folder`, each with `prefix` before its path, in the order of their keys' bytes, as S3 lists them.
 * Dot files and symbolic links are none. What vanishes meanwhile is left out.
 */
export async function* listFolder(folder: string, prefix: string, signal: AbortSignal | undefined): AsyncGenerator<ListedObject> {
  signal?.throwIfAborted();
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return [];
    throw error;
  });
  const visible = entries
    .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isFile()))
    // A folder's keys go on with a slash, which sorts after "a-b" and "a.b" and before "a0".
    .map((entry) => ({ entry, order: Buffer.from(entry.isDirectory() ? `${entry.name}/` : entry.name) }))
    .sort((a, b) => Buffer.compare(a.order, b.order));
  for (const { entry } of visible) {
    signal?.throwIfAborted();
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      yield* listFolder(path, `${prefix}${entry.name}/`, signal);
      continue;
    }
    const info = await lstat(path).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (info) yield { key: `${prefix}${entry.name}`, bytes: info.size, modifiedAt: info.mtime };
  }
}
