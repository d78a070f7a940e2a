import type { ObjectStore } from './object-store.ts';

/** Removes the objects below a prefix, except some keys, and returns the bytes freed. */
export async function removeFolder(store: ObjectStore, prefix: string, except: ReadonlySet<string> = new Set()): Promise<number> {
  const folder = prefix.replace(/\/$/, '');
  let bytes = 0;
  for await (const object of store.list(folder)) {
    if (except.has(object.key)) continue;
    bytes += object.bytes;
    if (except.size > 0) await store.remove(object.key);
  }
  if (except.size === 0) await store.removePrefix(folder);
  return bytes;
}
