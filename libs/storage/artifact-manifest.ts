import { artifactFileName, artifactKind, CairnError, manifestName, sha256Hex, timestamp } from '@cairn/contract';
import { sha256Json } from '@cairn/runtime';
import { z } from 'zod';
import type { ObjectStore } from './object-store.ts';

export const artifactFile = z.object({
  /** Path under the artifact's prefix. */
  name: artifactFileName,
  bytes: z.number().int().min(0),
  sha256: sha256Hex,
});
export type ArtifactFile = z.infer<typeof artifactFile>;

/** manifest.json of an artifact: its kind and all its files. Written by this release or an earlier one: unknown keys are ignored. */
export const artifactManifest = z.object({
  kind: artifactKind,
  id: z.string().min(1),
  /** Of the layout; a reader refuses an unknown version. */
  protocol: z.number().int().min(1),
  createdAt: timestamp,
  /** By name. */
  files: z.array(artifactFile),
  /** Of the content only: see {@link contentDigest}. */
  digest: sha256Hex,
  /** Specific to the kind: counts, metrics, lineage. */
  details: z.record(z.string(), z.json()),
});
export type ArtifactManifest = z.infer<typeof artifactManifest>;

/** sha256 of the canonical JSON of [{name, sha256}] by name: equal for equal files, whatever the artifact's id and time. */
export function contentDigest(files: readonly Pick<ArtifactFile, 'name' | 'sha256'>[]): string {
  return sha256Json(byName(files).map(({ name, sha256 }) => ({ name, sha256 })));
}

export function byName<File extends { name: string }>(files: readonly File[]): File[] {
  return files.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/**
 * The manifest of the artifact under `prefix`.
 * @throws CairnError `not_found` when there is none, `corrupt_artifact` when it cannot be read or its digest does not match its files.
 */
export async function readManifest(store: ObjectStore, prefix: string, signal?: AbortSignal): Promise<ArtifactManifest> {
  const key = `${prefix}/${manifestName}`;
  const bytes = await store.getBytes(key, signal === undefined ? {} : { signal });
  const manifest = parseManifest(bytes, key);
  const digest = contentDigest(manifest.files);
  if (digest !== manifest.digest) {
    throw new CairnError('corrupt_artifact', `The manifest ${key} gives the digest ${manifest.digest}, but its files have ${digest}.`, {
      details: { key, expected: manifest.digest, found: digest },
    });
  }
  return manifest;
}

function parseManifest(bytes: Buffer, key: string): ArtifactManifest {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new CairnError('corrupt_artifact', `The manifest ${key} is not JSON.`, { cause, details: { key } });
  }
  const parsed = artifactManifest.safeParse(value);
  if (!parsed.success) {
    throw new CairnError('corrupt_artifact', `The manifest ${key} does not match its schema: ${z.prettifyError(parsed.error)}`, {
      cause: parsed.error,
      details: { key },
    });
  }
  return parsed.data;
}
