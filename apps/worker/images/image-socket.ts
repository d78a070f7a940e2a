import { rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CairnError, isDatasetUrl } from '@cairn/contract';
import type { ImageLocation, ImageReader } from '@cairn/dataset';
import { makeOwnFolder } from '@cairn/runtime';
import { z } from 'zod';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { type AnnouncedRuns, announcedRuns } from './announced-runs.ts';
import { type ImageCache, openImageCache } from './image-cache.ts';

/** A line from a program (cairn_trainer/served_images.py): an image file, or a part of a tar. */
const imageRequest = z.object({
  path: z.string(),
  tar: z.string().nullable(),
  offset: z.number().int().nullable(),
  size: z.number().int().nullable(),
  fileBytes: z.number().int().nullable().optional(),
  fileChangedMs: z.number().int().nullable().optional(),
});
type ImageRequest = z.infer<typeof imageRequest>;

/** Images of a tar that are asked for soon, by offset, size and path, under a number that the program gives them. */
const announcement = z.object({
  announce: z.number().int(),
  tar: z.string(),
  fileBytes: z.number().int().nullable().optional(),
  fileChangedMs: z.number().int().nullable().optional(),
  images: z.array(z.tuple([z.number().int(), z.number().int(), z.string()])),
});
const withdrawal = z.object({ withdraw: z.number().int() });
/** Announcements and withdrawals are not answered. */
const lineOfProgram = z.union([withdrawal, announcement, imageRequest]);

/** The line that answers a request, followed by the bytes if there are any. */
type ImageReply = { bytes: number } | { bad: string } | { code: string; message: string };

/**
 * Runs the work of an attempt whose programs open images by path. For a dataset at an address they get a socket instead of a folder, where
 * this process answers with the bytes: credentials, faults and the verification of sources have one implementation.
 */
export async function withImageSocket<Context extends Pick<AttemptContext, 'spec' | 'datasetRoots' | 'imageCache' | 'reporter'>, Result>(
  context: Context,
  run: (context: Context) => Promise<Result>,
): Promise<Result> {
  const { spec, datasetRoots, imageCache, reporter } = context;
  const { root } = spec.source;
  if (!isDatasetUrl(root)) return run(context);
  const { openImageReader } = await import('@cairn/dataset');
  const reader = await openImageReader(root, datasetRoots);
  const cache = imageCache === null ? null : await openImageCache(imageCache.folder, imageCache.bytes);
  const report = cache === null ? null : cacheReport(reporter, cache.stats);
  const runs = announcedRuns(reader, cache, (image) => cacheKey(root, image));
  // Not in the work folder: the path of a socket has at most 107 bytes.
  const folder = await makeOwnFolder('cairn-images-');
  const socket = join(folder, 'images');
  const open = new Set<Socket>();
  const server = createServer((connection) => {
    open.add(connection);
    connection.on('close', () => open.delete(connection)).on('error', () => connection.destroy());
    const served = serve(connection, runs, async (request) => {
      const announced = await runs.image(request);
      if (announced !== null) cache?.missed();
      const image = announced ?? (await read(reader, cache, root, request));
      report?.();
      return image;
    });
    served.catch(() => connection.destroy());
  });
  try {
    await new Promise<void>((resolve, reject) => void server.once('error', reject).listen(socket, resolve));
    return await run({ ...context, spec: { ...spec, source: { ...spec.source, root: socket } } });
  } finally {
    for (const connection of open) connection.destroy();
    server.close();
    runs.close();
    await reader.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Reads between two values of the metrics. */
const readsOfMetric = 1000;

/** Reports how much of what is read comes from the node, and what that takes: at the first read, then now and then. */
function cacheReport({ metric }: Pick<AttemptContext['reporter'], 'metric'>, stats: ImageCache['stats']): () => void {
  let told = 0;
  return () => {
    const reads = stats.hits + stats.misses;
    if (reads === told || (told > 0 && reads < told + readsOfMetric)) return;
    told = reads;
    metric('image_cache_hit_share', reads, stats.hits / reads);
    metric('image_cache_gib', reads, stats.bytes / 2 ** 30);
    metric('image_cache_evicted_gib', reads, stats.evictedBytes / 2 ** 30);
  };
}

/** Answers the requests of a connection one after another; what it has announced is withdrawn when it ends. */
async function serve(connection: Socket, runs: AnnouncedRuns, answer: (request: ImageRequest) => Promise<Buffer>): Promise<void> {
  // The same run may be announced again, for the next epoch, before it is withdrawn.
  const withdrawals = new Map<number, (() => void)[]>();
  try {
    for await (const line of createInterface({ input: connection })) {
      const asked = lineOfProgram.parse(JSON.parse(line));
      if ('announce' in asked) {
        const { tar, images, fileBytes, fileChangedMs } = asked;
        const withdraw = runs.announce(images.map(([offset, size, path]) => ({ path, tar, offset, size, fileBytes, fileChangedMs })));
        withdrawals.set(asked.announce, [...(withdrawals.get(asked.announce) ?? []), withdraw]);
        continue;
      }
      if ('withdraw' in asked) {
        const [withdraw, ...later] = withdrawals.get(asked.withdraw) ?? [];
        withdrawals.set(asked.withdraw, later);
        withdraw?.();
        continue;
      }
      const [reply, image] = await answer(asked).then(
        (bytes): [ImageReply, Buffer | null] => [{ bytes: bytes.length }, bytes],
        (error: unknown): [ImageReply, null] => [failureReply(error), null],
      );
      connection.write(`${JSON.stringify(reply)}\n`);
      // The next request comes only after this answer, so at most one image waits.
      if (image !== null) connection.write(image);
    }
  } finally {
    for (const withdraw of [...withdrawals.values()].flat()) withdraw();
  }
}

async function read(reader: ImageReader, cache: ImageCache | null, root: string, request: ImageRequest): Promise<Buffer> {
  const { tar, size, fileBytes } = request;
  const key = cacheKey(root, request);
  const bytes = tar === null ? fileBytes : size;
  const kept = key !== null && typeof bytes === 'number' ? await cache?.get(key, bytes) : null;
  if (kept) return kept;
  const image = await reader.read(request);
  if (key !== null) await cache?.keep(key, image);
  return image;
}

/** Null without the time of its file: a kept image could be of another version. */
function cacheKey(root: string, { path, tar, offset, size, fileBytes, fileChangedMs }: ImageLocation): string | null {
  return typeof fileChangedMs === 'number' ? JSON.stringify([root, tar ?? path, offset, size, fileBytes, fileChangedMs]) : null;
}

function failureReply(error: unknown): ImageReply {
  if (!(error instanceof CairnError)) return { code: 'storage_failed', message: error instanceof Error ? error.message : String(error) };
  return error.code === 'missing_file' ? { bad: error.message } : { code: error.code, message: error.message };
}
