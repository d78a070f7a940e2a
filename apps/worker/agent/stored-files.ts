import { join } from 'node:path';
import { type AttemptSpec, CairnError, type InputArtifact, isCairnError, type StoredFile, weightsDetails } from '@cairn/contract';
import { backoff, inParallel, sleep } from '@cairn/runtime';
import { objectKey, readManifest } from '@cairn/storage';
import type { AttemptContext } from './attempt-context.ts';

/** How long to retry a failing storage where the attempt has nothing to lose. */
const briefPatienceMs = 60_000;
/** The same where hours of training depend on one file. */
export const longPatienceMs = 15 * 60_000;

/**
 * The input of the step in this role.
 * @throws CairnError `internal` when the control plane sent none
 */
export function inputOf(spec: { inputs: Record<string, InputArtifact>; step: { name: string } }, role: string): InputArtifact {
  const input = spec.inputs[role];
  if (input === undefined) throw new CairnError('internal', `The step ${spec.step.name} has no input "${role}"`);
  return input;
}

/**
 * Downloads one file of an input artifact into the work folder; returns its local path. The content must match the
 * artifact's manifest, or it is `corrupt_artifact`; `not_found` when the artifact has no such file.
 */
export async function fetchFile(context: AttemptContext, input: InputArtifact, name: string): Promise<{ path: string; sha256: string }> {
  const file = input.files.find((candidate) => candidate.name === name);
  if (file === undefined) {
    const names = input.files.map((candidate) => candidate.name).join(', ');
    throw new CairnError('not_found', `The artifact ${input.id} (${input.kind}) has no file ${name}; it has ${names || 'none'}`);
  }
  const path = localPath(context.workDir, input, name);
  await fetchVerified(context, { key: `${input.prefix}${name}`, sha256: file.sha256 }, path);
  return { path, sha256: file.sha256 };
}

function localPath(workDir: string, input: Pick<InputArtifact, 'id'>, name: string): string {
  return join(workDir, 'inputs', objectKey(input.id), objectKey(name));
}

/** A program's message with the name of the import before the path of its file: users know the file by that name. */
export function withImportNames({ spec, workDir }: Pick<AttemptContext, 'spec' | 'workDir'>, message: string): string {
  return Object.values(spec.inputs).reduce((text, { id, files, details }) => {
    const imported = weightsDetails.safeParse(details).data?.imported;
    if (imported === undefined) return text;
    const paths = files.map(({ name }) => localPath(workDir, { id }, name));
    return paths.reduce((part, path) => part.replaceAll(path, `${imported} (${path})`), text);
  }, message);
}

/** Downloads an object into a local file; throws `corrupt_artifact` when it is not what was stored, `not_found` when it is gone. */
export async function fetchVerified(
  context: AttemptContext,
  { key, sha256 }: { key: string; sha256: string },
  path: string,
): Promise<void> {
  const signal = context.stop.asked;
  await withRetries(context, briefPatienceMs, () => context.store.download(key, path, { sha256, signal }), signal);
}

/** Small files spend their time waiting for requests. */
const parallelFetches = 8;

/**
 * Downloads all files of an input artifact, or those that are wanted, into one folder of the work folder, keeping their names; returns the
 * folder.
 */
export async function fetchArtifact(
  context: AttemptContext,
  input: InputArtifact,
  isWanted: (name: string) => boolean = () => true,
): Promise<string> {
  const files = (await allFiles(context, input)).filter(({ name }) => isWanted(name));
  await inParallel(files.values(), parallelFetches, ({ name, sha256 }) =>
    fetchVerified(context, { key: `${input.prefix}${name}`, sha256 }, localPath(context.workDir, input, name)),
  );
  return join(context.workDir, 'inputs', objectKey(input.id));
}

/** The files of a large artifact are only in its manifest, which must have the digest that the control plane knows. */
async function allFiles(context: AttemptContext, { id, prefix, digest, files }: InputArtifact): Promise<InputArtifact['files']> {
  if (files.length > 0) return files;
  const signal = context.stop.asked;
  const manifest = await withRetries(
    context,
    briefPatienceMs,
    () => readManifest(context.store, prefix.replace(/\/$/, ''), signal),
    signal,
  );
  if (manifest.digest === digest) return manifest.files;
  throw new CairnError('corrupt_artifact', `The manifest of ${id} in ${prefix} has the digest ${manifest.digest}, expected ${digest}`);
}

/** Of an attempt. */
export type UploadContext = Pick<AttemptContext, 'reporter' | 'store' | 'stop'> & { spec: Pick<AttemptSpec, 'stagingPrefix'> };

/** Stores a local file, or text, below the attempt's staging prefix under `name`. */
export async function uploadFile(
  context: UploadContext,
  name: string,
  source: { file: string } | string,
  { patienceMs = briefPatienceMs, signal = context.stop.ended }: { patienceMs?: number; signal?: AbortSignal } = {},
): Promise<StoredFile> {
  const key = `${context.spec.stagingPrefix}${name}`;
  const { bytes, sha256 } = await withRetries(context, patienceMs, () => context.store.put(key, source, { signal }), signal);
  return { name, key, bytes, sha256 };
}

/** Repeats `work` while the storage fails in a way that may pass, for at most `patienceMs`. Notes report the wait and its end. */
async function withRetries<T>(
  { reporter }: Pick<AttemptContext, 'reporter'>,
  patienceMs: number,
  work: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const end = Date.now() + patienceMs;
  for (let attempt = 0; ; attempt += 1) {
    try {
      const result = await work();
      if (attempt > 0) reporter.report({ type: 'note', level: 'info', message: 'The storage is available again' });
      return result;
    } catch (error) {
      // Without anything to lose, a full storage is left to the next attempt, which waits without holding a slot.
      const mayPass = isCairnError(
        error,
        'storage_failed',
        'unavailable',
        ...(patienceMs > briefPatienceMs ? ['storage_full' as const] : []),
      );
      if (!mayPass || Date.now() >= end || signal.aborted) throw error;
      if (attempt === 0) reporter.report({ type: 'note', level: 'warning', message: `Waiting for the storage: ${error.message}` });
      await sleep(backoff({ attempt, baseMs: 250, maxMs: 15_000 }), signal);
    }
  }
}
