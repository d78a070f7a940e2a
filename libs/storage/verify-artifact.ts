import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { CairnError } from '@cairn/contract';
import { type ArtifactFile, type ArtifactManifest, readManifest } from './artifact-manifest.ts';
import type { ObjectStore } from './object-store.ts';

/**
 * Reads the whole artifact and compares every file with the manifest.
 * @throws CairnError `not_found` without a manifest, `corrupt_artifact` that names the first file that does not fit.
 */
export async function verifyArtifact(store: ObjectStore, prefix: string, signal?: AbortSignal): Promise<ArtifactManifest> {
  const manifest = await readManifest(store, prefix, signal);
  for (const file of manifest.files) await verifyFile(store, `${prefix}/${file.name}`, file, signal);
  return manifest;
}

/** @throws CairnError `corrupt_artifact` that says which object, what was expected and what was found. */
export async function verifyFile(store: ObjectStore, key: string, expected: ArtifactFile, signal?: AbortSignal): Promise<void> {
  const info = await store.head(key, signal);
  if (info === null) throw corrupt(key, 'is missing', { expected });
  if (info.bytes !== expected.bytes)
    throw corrupt(key, `has ${info.bytes} bytes, expected ${expected.bytes}`, { expected, found: info.bytes });
  const found = await sha256Object(store, key, signal);
  if (found !== expected.sha256) throw corrupt(key, `has the sha256 ${found}, expected ${expected.sha256}`, { expected, found });
}

/** True when the object is there and is what is expected. */
export async function isVerified(store: ObjectStore, key: string, expected: ArtifactFile, signal?: AbortSignal): Promise<boolean> {
  const info = await store.head(key, signal);
  return info?.bytes === expected.bytes && (await sha256Object(store, key, signal)) === expected.sha256;
}

async function sha256Object(store: ObjectStore, key: string, signal: AbortSignal | undefined): Promise<string> {
  const options = signal === undefined ? {} : { signal };
  const hash = createHash('sha256');
  await pipeline(await store.get(key, options), hash, options);
  return hash.digest('hex');
}

function corrupt(key: string, what: string, details: Record<string, unknown>): CairnError {
  return new CairnError('corrupt_artifact', `The object ${key} ${what}.`, { details: { key, ...details } });
}
