import { createHash } from 'node:crypto';
import { artifactFileName, artifactKind, CairnError, isCairnError, manifestName, sha256Hex, timestamp } from '@cairn/contract';
import { canonicalJson, inParallel, sha256Json } from '@cairn/runtime';
import { z } from 'zod';
import type { ObjectStore } from './object-store.ts';

const artifactFile = z.object({
  /** Path under the artifact's prefix. */
  name: artifactFileName,
  bytes: z.number().int().min(0),
  sha256: sha256Hex,
});
type ArtifactFile = z.infer<typeof artifactFile>;

/** manifest.json of an artifact: its kind and all its files. Written by this release or an earlier one: unknown keys are ignored. */
const artifactManifest = z.object({
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
type ArtifactManifest = z.infer<typeof artifactManifest>;

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

type CommittedFile = ArtifactFile & {
  /** The key of the part in staging. */
  from: string;
};

export type ArtifactCommit = {
  /** The prefix of the artifact, for example `models/mdl_...`. */
  prefix: string;
  files: readonly CommittedFile[];
  /** Fixed by the caller, like `createdAt`: a repeated commit ends with the same manifest. */
  manifest: Omit<ArtifactManifest, 'files' | 'digest'>;
  /** A folder below the prefix that stays, which the caller removes when the manifest is there. */
  keeps?: string;
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
  const { prefix, files, manifest, keeps, onProgress, signal } = commit;
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
  for (const key of found.keys()) if (keeps === undefined || !key.startsWith(`${keeps}/`)) await store.remove(key, signal);
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
async function isVerified(store: ObjectStore, key: string, expected: ArtifactFile, signal?: AbortSignal): Promise<boolean> {
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

const folder = 'tensorboard';

/**
 * Folders that may hold an attempt's event files for TensorBoard, by key and without a trailing slash: where it stages them, and where they
 * are kept when its staging is removed.
 */
export const tensorBoardFolders = (attemptId: string) => ({
  staged: `staging/${attemptId}/${folder}`,
  kept: `logs/${attemptId}/${folder}`,
});

/** Copies an attempt's staged event files to their permanent folder; repeating it changes nothing. */
export async function keepTensorBoardFiles(store: ObjectStore, attemptId: string, signal?: AbortSignal): Promise<void> {
  const { staged, kept } = tensorBoardFolders(attemptId);
  for await (const { key } of store.list(staged, signal)) await store.copy(key, `${kept}${key.slice(staged.length)}`, signal);
}
