import { createFileGate } from '../file-gate.ts';
import { type ScannedTar, scanTar } from '../tars/scan-tar.ts';

/** Scans a tar of a test's own. */
export async function scanFile(path: string, signal?: AbortSignal): Promise<ScannedTar> {
  const file = await (await createFileGate(null)).open(path);
  try {
    return await scanTar(file, path, signal);
  } finally {
    await file.close();
  }
}
