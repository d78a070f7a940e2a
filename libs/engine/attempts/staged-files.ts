import { CairnError, type StoredFile } from '@cairn/contract';
import { stagingPrefix } from './spec.ts';

/**
 * Rejects files that make no artifact, or that another attempt wrote: the control plane copies them with permissions that the attempt does
 * not have.
 *
 * @throws CairnError `invalid_request`
 */
export function refuseForeignFiles(attemptId: string, files: readonly StoredFile[]): void {
  const names = new Set<string>();
  for (const { name, key } of files) {
    refuseForeignKey(attemptId, key);
    if (names.has(name)) throw new CairnError('invalid_request', `attempt ${attemptId} has two files named ${name}`);
    names.add(name);
  }
}

/** @throws CairnError `invalid_request` */
export function refuseForeignKey(attemptId: string, key: string): void {
  const prefix = stagingPrefix(attemptId);
  if (!key.startsWith(prefix))
    throw new CairnError('invalid_request', `the object ${key} is not below ${prefix}, the prefix of attempt ${attemptId}`);
}
