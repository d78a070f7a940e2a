import { fileURLToPath } from 'node:url';
import { CairnError } from '@cairn/contract';
import { openFileStore } from './file-store.ts';
import type { ObjectStore } from './object-store.ts';
import { parseS3Location } from './s3-bucket.ts';
import { openS3Store } from './s3-store.ts';

/** How each scheme of a storage URL is opened. */
const schemes: Record<string, (url: URL) => ObjectStore> = {
  'file:': (url) => openFileStore(pathOf(url)),
  's3:': (url) => openS3Store(parseS3Location(url)),
};

/**
 * Opens the object store of a URL: `file:///absolute/path`, or `s3://bucket/prefix` with what `parseS3Location` takes.
 * Touches nothing yet: the first write creates a folder; a bucket must exist.
 * @throws CairnError `invalid_configuration` for an invalid URL or an unsupported scheme.
 */
export function openStore(url: string): ObjectStore {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const open = parsed === undefined ? undefined : schemes[parsed.protocol];
  if (parsed === undefined || open === undefined) {
    const supported = Object.keys(schemes)
      .map((scheme) => `${scheme}//`)
      .join(', ');
    // The part before an @ may be a secret.
    const shown = url.replace(/^(\w+:\/\/).*@/s, '$1...@');
    throw new CairnError('invalid_configuration', `${JSON.stringify(shown)} is not a storage URL: use one that starts with ${supported}.`, {
      details: { url: shown, supported },
    });
  }
  return open(parsed);
}

function pathOf(url: URL): string {
  if (url.search !== '' || url.hash !== '')
    throw new CairnError(
      'invalid_configuration',
      `${JSON.stringify(url.href)} contains # or ?, which ends the path: write %23 or %3F where it is part of a folder's name.`,
    );
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new CairnError(
      'invalid_configuration',
      `${JSON.stringify(url.href)} does not name a local folder: write file:///absolute/path.`,
      {
        cause,
      },
    );
  }
}

/**
 * True for the environment variables that a program which opens a store may need in addition to the storage URL: those that the
 * AWS SDK reads (credentials, region, endpoint), and the certificates that Node trusts. For programs that start agents.
 */
export function isStorageVariable(name: string): boolean {
  return name.startsWith('AWS_') || name === 'NODE_EXTRA_CA_CERTS';
}

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
