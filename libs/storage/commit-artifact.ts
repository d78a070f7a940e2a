import { CairnError, isCairnError, manifestName } from '@cairn/contract';
import { canonicalJson, inParallel } from '@cairn/runtime';
import { z } from 'zod';
import { type ArtifactFile, type ArtifactManifest, artifactManifest, byName, contentDigest, readManifest } from './artifact-manifest.ts';
import type { ObjectStore } from './object-store.ts';
import { isVerified, verifyFile } from './verify-artifact.ts';

export type CommittedFile = ArtifactFile & {
  /** The key of the part in staging. */
  from: string;
};

export type ArtifactCommit = {
  /** The prefix of the artifact, for example `models/mdl_...`. */
  prefix: string;
  files: readonly CommittedFile[];
  /** Fixed by the caller, like `createdAt`: a repeated commit ends with the same manifest. */
  manifest: Omit<ArtifactManifest, 'files' | 'digest'>;
  /** Called after each file with the number of files that are in place. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
};

/** Each is a few requests that wait for the server or the disk, with one chunk each in memory. */
const parallelCopies = 16;

/** In the `details` of the error that {@link commitArtifact} throws for missing or changed parts: their names. */
export const faultyParts = z.object({ names: z.array(z.string()) });

/**
 * Makes an artifact from parts in staging: copies each inside the store, checks the copies' sizes and digests, removes
 * everything else under the prefix (from an earlier try), and writes the manifest last. Idempotent: killed at any point and run again
 * it ends the same; when all is done already it changes nothing, even if staging is gone. Several at once with the same
 * files and manifest do not harm each other.
 * @throws CairnError `corrupt_artifact` for parts that are not what was committed, for two of the same name, or when the prefix already
 *   holds an artifact with different content; `not_found` for parts that are neither in staging nor copied. The details name the faulty
 *   parts ({@link faultyParts}); all others were copied by then.
 */
export async function commitArtifact(store: ObjectStore, commit: ArtifactCommit): Promise<ArtifactManifest> {
  const { prefix, files, manifest, onProgress, signal } = commit;
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

  const found = new Map<string, number>();
  for await (const { key, bytes } of store.list(prefix, signal)) found.set(key, bytes);
  const faults: { name: string; error: CairnError }[] = [];
  let done = 0;
  await inParallel(sorted.values(), parallelCopies, async (file) => {
    const key = `${prefix}/${file.name}`;
    try {
      const isThere = found.get(key) === file.bytes && (await isVerified(store, key, file, signal));
      found.delete(key);
      if (isThere) return;
      await store.copy(file.from, key, signal);
      await verifyFile(store, key, file, signal);
    } catch (error) {
      if (!isCairnError(error, 'corrupt_artifact', 'not_found')) throw error;
      faults.push({ name: file.name, error });
    } finally {
      done += 1;
      onProgress?.(done, sorted.length);
    }
  });
  if (faults.length > 0) throw faultOf(prefix, faults);
  // Readers such as embedding-reader treat every file of a folder as a part of it. Not the manifest, which another commit may have written by now.
  found.delete(`${prefix}/${manifestName}`);
  for (const key of found.keys()) await store.remove(key, signal);
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

function faultOf(prefix: string, faults: readonly { name: string; error: CairnError }[]): CairnError {
  const names = faults.map(({ name }) => name).sort();
  const first = faults.find(({ name }) => name === names[0])?.error ?? new CairnError('internal', `no part of ${prefix} is at fault`);
  const more =
    faults.length === 1 ? '' : ` The same applies to ${faults.length - 1} more part${faults.length > 2 ? 's' : ''} of ${prefix}.`;
  return new CairnError(first.code, `${first.message}${more}`, { cause: first, details: { ...first.details, names } });
}
