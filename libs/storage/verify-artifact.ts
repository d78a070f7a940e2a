import { createHash } from 'node:crypto';
import { CairnError, isCairnError } from '@cairn/contract';
import type { ArtifactFile } from './artifact-manifest.ts';
import type { ObjectStore } from './object-store.ts';

/** @throws CairnError `corrupt_artifact` that names the object, what was expected and what was found. */
export async function verifyFile(store: ObjectStore, key: string, expected: ArtifactFile, signal?: AbortSignal): Promise<void> {
  const found = await readDigest(store, key, signal).catch((error: unknown) => {
    throw isCairnError(error, 'not_found') ? corrupt(key, 'is missing', { expected }) : error;
  });
  if (found.bytes !== expected.bytes)
    throw corrupt(key, `has ${found.bytes} bytes, expected ${expected.bytes}`, { expected, found: found.bytes });
  if (found.sha256 !== expected.sha256)
    throw corrupt(key, `has the sha256 ${found.sha256}, expected ${expected.sha256}`, { expected, found: found.sha256 });
}

/** True when the object matches what is expected. */
export async function isVerified(store: ObjectStore, key: string, expected: ArtifactFile, signal?: AbortSignal): Promise<boolean> {
  return (await readDigest(store, key, signal)).sha256 === expected.sha256;
}

async function readDigest(store: ObjectStore, key: string, signal: AbortSignal | undefined): Promise<{ bytes: number; sha256: string }> {
  const options = signal === undefined ? {} : { signal };
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of await store.get(key, options)) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

function corrupt(key: string, what: string, details: Record<string, unknown>): CairnError {
  return new CairnError('corrupt_artifact', `The object ${key} ${what}.`, { details: { key, ...details } });
}
