import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { CairnError } from '@cairn/contract';
import { type ImageSplit, imagePath, imageSplits, makingBeside, packTars } from '@cairn/dataset';
import { sha256 } from '@cairn/runtime';
import { photograph } from './camera.ts';
import type { Landmark } from './landmark.ts';
import { landmarkOf } from './landmark.ts';
import {
  countryFiles,
  isComplete,
  type MiniManifest,
  metadataFiles,
  miniGenerator,
  miniManifestName,
  readMiniManifest,
} from './metadata.ts';
import { pictureOf, strayOf } from './picture.ts';
import type { MiniCounts, MiniPlan, PlannedImage } from './plan.ts';
import { miniCounts, planMiniDataset, subjectOf } from './plan.ts';
import { randomOf } from './random.ts';

export type MiniDatasetOptions = {
  /** The folder to create. It must not exist, be empty, or contain the same dataset. */
  out: string;
  /** A whole number; the same seed gives the same bytes. */
  seed: number;
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
  /** Images drawn in parallel; does not affect the bytes. */
  concurrency?: number;
  /** Fewer images, for tests. */
  counts?: Partial<MiniCounts>;
};

const tarsOf: Record<ImageSplit, number> = { train: 5, index: 4, test: 2 };
const layout = { images: 'images', tars: 'tars', metadata: 'metadata', countries: 'countries' } as const;

/**
 * Creates a small landmark collection in GLDv2's format: drawn landmarks seen from many sides, with wrong labels, near twins, strays and
 * broken files. It is written to a temporary folder and renamed when complete. If the same dataset already exists, it is returned
 * immediately; if it is incomplete, it is created again.
 *
 * @throws CairnError `name_taken` if `out` contains anything else, `storage_full` if the disk is full.
 */
export async function makeMiniDataset(options: MiniDatasetOptions): Promise<MiniManifest> {
  const out = resolve(options.out);
  const asked: MiniCounts = { ...miniCounts, ...options.counts };
  const present = await presentDataset(out, options.seed, asked, options.signal);
  if (present) return present;
  return makingBeside(
    out,
    async (making) => {
      const manifest = await fill(making, planMiniDataset(options.seed, asked), asked, options);
      await moveIntoPlace(making, out, manifest, options.signal);
      return manifest;
    },
    options.signal,
  );
}

/** The manifest of the requested dataset if it is complete in `out`; null if `out` may be written. */
async function presentDataset(out: string, seed: number, asked: MiniCounts, signal?: AbortSignal): Promise<MiniManifest | null> {
  const entries = await readdir(out).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    if (error instanceof Error && 'code' in error && error.code === 'ENOTDIR') {
      throw new CairnError('name_taken', `${out} is a file: choose another folder for the mini dataset`, { cause: error });
    }
    throw error;
  });
  if (entries.length === 0) return null;
  const manifest = await readMiniManifest(out);
  const same = manifest?.seed === seed && manifest.generator === miniGenerator && JSON.stringify(manifest.asked) === JSON.stringify(asked);
  if (!manifest || !same) {
    const found = manifest ? `a mini dataset of seed ${manifest.seed} (generator ${manifest.generator})` : 'other files';
    throw new CairnError('name_taken', `${out} contains ${found}: choose another folder, or empty this one`, { details: { out, seed } });
  }
  return (await isComplete(out, manifest, signal)) ? manifest : null;
}

async function moveIntoPlace(making: string, out: string, manifest: MiniManifest, signal?: AbortSignal): Promise<void> {
  const damaged = (await readMiniManifest(out)) !== null && !(await isComplete(out, manifest, signal));
  const aside = `${making}.old`;
  if (damaged) await rename(out, aside);
  try {
    await rename(making, out);
  } catch (error) {
    // Another process may have finished the same dataset first.
    const other = await readMiniManifest(out);
    if (other?.digest !== manifest.digest) throw error;
  } finally {
    if (damaged) await rm(aside, { recursive: true, force: true });
  }
}

async function fill(root: string, plan: MiniPlan, asked: MiniCounts, options: MiniDatasetOptions): Promise<MiniManifest> {
  const { signal, onProgress, concurrency = availableParallelism() } = options;
  const sums = new Map<string, { sha256: string; bytes: number }>();
  const note = (path: string, bytes: Buffer): void => {
    sums.set(path, { sha256: sha256(bytes), bytes: bytes.length });
  };
  const store = async (path: string, bytes: Buffer): Promise<void> => {
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, bytes);
    note(path, bytes);
  };
  const draw = painter(plan);
  let next = 0;
  let done = 0;
  // A failure stops all workers, and all are awaited: none may write into a folder that is being removed.
  const failed = new AbortController();
  const hand = async (): Promise<void> => {
    for (let image = plan.images[next++]; image && !failed.signal.aborted; image = plan.images[next++]) {
      try {
        signal?.throwIfAborted();
        await store(`${layout.images}/${imagePath(image.split, image.id)}`, await draw(image));
        onProgress?.({ done: ++done, total: plan.images.length });
      } catch (error) {
        failed.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, concurrency) }, hand));
  failed.signal.throwIfAborted();
  for (const { path, text } of [...metadataFiles(plan), ...countryFiles(plan)]) await store(path, Buffer.from(text));
  for (const split of imageSplits) {
    const images = plan.images
      .filter((image) => image.split === split)
      .map(({ id }) => ({ id, read: () => readFile(join(root, layout.images, imagePath(split, id))) }));
    const paths = await packTars(join(root, layout.tars), split, images, tarsOf[split], signal);
    for (const path of paths) note(`${layout.tars}/${path}`, await readFile(join(root, layout.tars, path)));
  }
  const manifest = manifestOf(plan, asked, sums);
  await writeFile(join(root, miniManifestName), `${JSON.stringify(manifest, null, 2)}\n`);
  return manifest;
}

/** Draws planned images; each depends only on the seed and its id, so the order does not matter. */
function painter(plan: MiniPlan): (image: PlannedImage) => Promise<Buffer> {
  const landmarks = new Map<string, Landmark>();
  for (const landmark of plan.landmarks) landmarks.set(subjectOf(landmark), landmarkOf(plan.seed, landmark.model, landmark.twin));
  return async ({ id, shows, hardness, fault }) => {
    if (fault === 'empty') return Buffer.alloc(0);
    if (fault === 'notAnImage') return Buffer.from('<!DOCTYPE html>\n<title>404</title><p>The file was not found.</p>\n');
    const random = randomOf(plan.seed, 'image', id);
    const landmark = shows === null ? undefined : landmarks.get(shows);
    const drawing = landmark ? pictureOf(landmark, random, hardness) : strayOf(plan.seed, id, random, hardness);
    const jpeg = await photograph(drawing, random, hardness);
    return fault === 'truncated' ? jpeg.subarray(0, Math.floor(jpeg.length * 0.4)) : jpeg;
  };
}

function manifestOf(plan: MiniPlan, asked: MiniCounts, sums: ReadonlyMap<string, { sha256: string; bytes: number }>): MiniManifest {
  const lines = [...sums].map(([path, { sha256 }]) => `${sha256}  ${path}\n`).toSorted((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1));
  const count = (split: ImageSplit): number => plan.images.filter((image) => image.split === split).length;
  return {
    format: 'cairn-mini',
    name: 'mini',
    version: 1,
    generator: miniGenerator,
    seed: plan.seed,
    asked,
    counts: {
      train: count('train'),
      index: count('index'),
      test: count('test'),
      landmarks: plan.landmarks.length,
      cleanLandmarks: plan.clean.length,
      cleanImages: plan.clean.reduce((sum, row) => sum + row.images.length, 0),
      scoredQueries: plan.queries.filter((query) => query.usage !== 'Ignored').length,
    },
    layout,
    files: sums.size,
    bytes: [...sums.values()].reduce((sum, file) => sum + file.bytes, 0),
    digest: sha256(lines.join('')),
  };
}
