import type { LaunchSpec } from './executor.ts';
import { parseQuantity } from './quantity.ts';

/** What NCCL and PyTorch themselves put there, and a pod without loaders. */
const leastBytes = 2 ** 30;

/** Bytes of /dev/shm: what the pool sets, or else what the attempt needs. A container's own 64 MB would end a loader with "Bus error". */
export function sharedMemoryBytes(
  { loaderBytes = 0 }: Pick<LaunchSpec, 'loaderBytes'>,
  { sharedMemory }: { sharedMemory?: string | undefined },
): number {
  return sharedMemory === undefined ? leastBytes + loaderBytes : parseQuantity(sharedMemory);
}
