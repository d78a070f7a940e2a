import { CairnError, isCairnError, manifestName } from '@cairn/contract';
import { canonicalJson, inParallel } from '@cairn/runtime';
import { type ArtifactFile, type ArtifactManifest, artifactManifest, byName, contentDigest, readManifest } from './artifact-manifest.ts';
import type { ObjectStore } from './object-store.ts';
import { isVerified, verifyFile } from './verify-artifact.ts';

export type CommittedFile = ArtifactFile & {
  /** The key of the part in staging. */
  from: string;
};

export type ArtifactCommit = {
  /** Where the artifact comes to lie, for example `models/mdl_...`. */
  prefix: string;
  files: readonly CommittedFile[];
  /** Fixed by the caller, `createdAt` too: a commit that is run again ends with the same manifest. */
  manifest: Omit<ArtifactManifest, 'files' | 'digest'>;
  signal?: AbortSignal;
};

const parallelCopies = 4;

/**
 * Makes an artifact of parts in staging: copies each inside the store, checks the copies' sizes and digests, removes
 * what else lies under the prefix (an earlier try's), and writes the manifest last. Killed at any point and run again
 * it ends the same; run again when all is done it changes nothing, even if staging is gone.
 * @throws CairnError `corrupt_artifact` for a part that is not what was committed, for two of the same name, or when the prefix already
 *   holds an artifact with other content; `not_found` for a part that is neither in staging nor copied.
 */
export async function commitArtifact(store: ObjectStore, { prefix, files, manifest, signal }: ArtifactCommit): Promise<ArtifactManifest> {
  const sorted = byName(files);
  const listed = sorted.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }));
  const complete = artifactManifest.parse({ ...manifest, files: listed, digest: contentDigest(listed) });
  const repeated = sorted.find(({ name }, index) => sorted[index + 1]?.name === name);
  if (repeated) throw new CairnError('corrupt_artifact', `The artifact ${prefix} would have two files named ${repeated.name}.`);

  const existing = await existingManifest(store, prefix, signal);
  if (existing) {
    if (existing.digest === complete.digest) return existing;
    throw new CairnError(
      'corrupt_artifact',
      `${prefix} holds an artifact with the digest ${existing.digest}, expected ${complete.digest}.`,
      {
        details: { prefix, expected: complete.digest, found: existing.digest },
      },
    );
  }

  await inParallel(sorted.values(), parallelCopies, (file) => copyPart(store, prefix, file, signal));
  await removeStrays(store, prefix, new Set(sorted.map(({ name }) => `${prefix}/${name}`)), signal);
  await store.put(`${prefix}/${manifestName}`, `${canonicalJson(complete)}\n`, signal === undefined ? {} : { signal });
  return complete;
}

async function existingManifest(
  store: ObjectStore,
  prefix: string,
  signal: AbortSignal | undefined,
): Promise<ArtifactManifest | undefined> {
  try {
    return await readManifest(store, prefix, signal);
  } catch (error) {
    if (isCairnError(error, 'not_found')) return undefined;
    throw error;
  }
}

async function copyPart(store: ObjectStore, prefix: string, file: CommittedFile, signal: AbortSignal | undefined): Promise<void> {
  const key = `${prefix}/${file.name}`;
  if (await isVerified(store, key, file, signal)) return;
  await store.copy(file.from, key, signal);
  await verifyFile(store, key, file, signal);
}

/** Readers such as embedding-reader take every file of a folder for a part of it. */
async function removeStrays(
  store: ObjectStore,
  prefix: string,
  wanted: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const strays: string[] = [];
  for await (const { key } of store.list(prefix, signal)) if (!wanted.has(key)) strays.push(key);
  for (const key of strays) await store.remove(key, signal);
}
