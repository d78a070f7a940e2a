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
  /** Where the artifact comes to lie, for example `models/mdl_...`. */
  prefix: string;
  files: readonly CommittedFile[];
  /** Fixed by the caller, `createdAt` too: a commit that is run again ends with the same manifest. */
  manifest: Omit<ArtifactManifest, 'files' | 'digest'>;
  /** Told after each file how many are in their place. */
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
};

/** Each is a few requests that wait for the server or the disk; in memory are that many chunks. */
const parallelCopies = 16;

/** Of the `details` of what {@link commitArtifact} throws for parts that are missing or not what was committed: their names. */
export const faultyParts = z.object({ names: z.array(z.string()) });

/**
 * Makes an artifact of parts in staging: copies each inside the store, checks the copies' sizes and digests, removes
 * what else lies under the prefix (an earlier try's), and writes the manifest last. Killed at any point and run again
 * it ends the same; run again when all is done it changes nothing, even if staging is gone. Several at once with the same
 * files and manifest do no harm to each other.
 * @throws CairnError `corrupt_artifact` for parts that are not what was committed, for two of the same name, or when the prefix already
 *   holds an artifact with other content; `not_found` for parts that are neither in staging nor copied. Of faulty parts the details say
 *   which ({@link faultyParts}), after all others were copied.
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
  // Readers such as embedding-reader take every file of a folder for a part of it. Not the manifest, which another may have written meanwhile.
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
    faults.length === 1 ? '' : ` The same holds with ${faults.length - 1} more part${faults.length > 2 ? 's' : ''} of ${prefix}.`;
  return new CairnError(first.code, `${first.message}${more}`, { cause: first, details: { ...first.details, names } });
}
