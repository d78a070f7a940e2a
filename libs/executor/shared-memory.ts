import type { LaunchSpec, LoaderMemory } from './executor.ts';
import { parseQuantity } from './quantity.ts';

/** Batches that each loader process of PyTorch prepares ahead. */
const prefetchFactor = 2;
/** What NCCL and PyTorch themselves put there, and a pod without loaders. */
const leastBytes = 2 ** 30;

/**
 * Bytes of /dev/shm for a pod: ranks x workers x prefetched batches x batch, twice, as a batch is collated while the one
 * before it is copied out. A container's own 64 MB would end a loader with "Bus error".
 */
export function sharedMemoryBytes(loader: LoaderMemory | undefined): number {
  if (loader === undefined) return leastBytes;
  const { ranks, workers, batch, bytesPerImage } = loader;
  return leastBytes + ranks * workers * prefetchFactor * batch * 2 * bytesPerImage;
}

/** What the pool sets, or else what the attempt needs. */
export function sharedMemoryOf({ loader }: Pick<LaunchSpec, 'loader'>, { sharedMemory }: { sharedMemory?: string | undefined }): number {
  return sharedMemory === undefined ? sharedMemoryBytes(loader) : parseQuantity(sharedMemory);
}
