import type { KindAndSettings } from '@cairn/contract';

/** Batches that each loader process of PyTorch prepares ahead. */
const prefetchFactor = 2;
/** A batch is collated while the previous one is copied out. */
const copies = 2;
const channels = 3;

/**
 * Bytes of decoded images that the loader processes of one attempt keep in shared memory; 0 where there are none. Computed when a run is
 * submitted and stored with the step: an executor sizes /dev/shm by it and needs a machine with that much memory.
 */
export function loaderBytes(step: KindAndSettings): number {
  if (step.kind !== 'train') return 0;
  const { ranks, loaderWorkers, batch, imageSize } = step.settings;
  return ranks * loaderWorkers * prefetchFactor * copies * batch * imageSize ** 2 * channels;
}
