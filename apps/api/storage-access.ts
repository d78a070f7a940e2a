import { fileURLToPath } from 'node:url';
import type { createEngine } from '@cairn/engine';
import type { ObjectStore } from '@cairn/storage';

type RemovePrefix = Parameters<typeof createEngine>[1];

/** Removes a folder of the object store and returns the bytes freed. */
export function removerOf(store: ObjectStore): RemovePrefix {
  return async (prefix) => {
    const folder = withoutSlash(prefix);
    let bytes = 0;
    for await (const object of store.list(folder)) bytes += object.bytes;
    await store.removePrefix(folder);
    return bytes;
  };
}

/** The location of a key prefix for people: a path for a local store, else its URL without credentials. */
export function locatorOf(storageUrl: string): (prefix: string) => string {
  const url = new URL(storageUrl);
  url.username = '';
  url.password = '';
  url.search = '';
  const base = withoutSlash(url.protocol === 'file:' ? fileURLToPath(url) : url.href);
  return (prefix) => `${base}/${prefix}`;
}

const withoutSlash = (text: string): string => text.replace(/\/$/, '');
