import { fileURLToPath } from 'node:url';
import { CairnError } from '@cairn/contract';
import { openFileStore } from './file-store.ts';
import type { ObjectStore } from './object-store.ts';

/** How each scheme of a storage URL is opened. */
const schemes: Record<string, (url: URL) => ObjectStore> = {
  'file:': (url) => openFileStore(pathOf(url)),
};

/**
 * Opens the object store of a URL, `file:///absolute/path`. Touches nothing yet: a folder is made by the first write.
 * @throws CairnError `invalid_configuration` for a URL that is none, or of another scheme.
 */
export function openStore(url: string): ObjectStore {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const open = parsed === undefined ? undefined : schemes[parsed.protocol];
  if (parsed === undefined || open === undefined) {
    const supported = Object.keys(schemes)
      .map((scheme) => `${scheme}//`)
      .join(', ');
    throw new CairnError('invalid_configuration', `${JSON.stringify(url)} is no storage URL: use one that starts with ${supported}.`, {
      details: { url, supported },
    });
  }
  return open(parsed);
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new CairnError('invalid_configuration', `${JSON.stringify(url.href)} names no local folder: write file:///absolute/path.`, {
      cause,
    });
  }
}
