import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { MiniCounts } from './plan.ts';

/** Raised whenever the same seed gives other bytes. */
export const miniGenerator = 2;
export const miniManifestName = 'dataset.json';

/** dataset.json, the description of a mini dataset. It is written last, so a folder that has it is complete. */
export type MiniManifest = {
  format: 'cairn-mini';
  name: 'mini';
  version: 1;
  generator: number;
  seed: number;
  /** The requested counts. */
  asked: MiniCounts;
  counts: {
    train: number;
    index: number;
    test: number;
    landmarks: number;
    cleanLandmarks: number;
    cleanImages: number;
    scoredQueries: number;
  };
  layout: { images: string; tars: string; metadata: string; countries: string };
  /** All files except dataset.json: their number, their bytes, and the SHA-256 of the lines `sha256  path`, sorted by path. */
  files: number;
  bytes: number;
  digest: string;
};

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isMiniManifest(value: unknown): value is MiniManifest {
  if (!isRecord(value) || value.format !== 'cairn-mini' || value.version !== 1) return false;
  const numbers = ['generator', 'seed', 'files', 'bytes'].every((key) => typeof value[key] === 'number');
  return numbers && typeof value.digest === 'string' && ['asked', 'counts', 'layout'].every((key) => isRecord(value[key]));
}

/** The manifest of the mini dataset in `root`, or null if there is none. */
export async function readMiniManifest(root: string): Promise<MiniManifest | null> {
  try {
    const value: unknown = JSON.parse(await readFile(join(root, miniManifestName), 'utf8'));
    return isMiniManifest(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR'].includes(String(error.code))))
      return null;
    throw error;
  }
}

/** True if all files in the manifest exist with their sizes. Their content is not read. */
export async function isComplete(root: string, manifest: MiniManifest, signal?: AbortSignal): Promise<boolean> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  let files = 0;
  let bytes = 0;
  for (const entry of entries) {
    if (!entry.isFile() || (entry.parentPath === root && entry.name === miniManifestName)) continue;
    signal?.throwIfAborted();
    files += 1;
    bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return files === manifest.files && bytes === manifest.bytes;
}
