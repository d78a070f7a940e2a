import { fileURLToPath } from 'node:url';

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
