import type { TrainSettings } from '@cairn/contract';

const dependence = {
  softmax: 'the images of a step do not depend on the ranks',
  gld: 'each rank draws its own rows, so another number of ranks draws other rows',
  id_uniform: 'each rank goes through all landmarks in its own order',
} as const satisfies Record<TrainSettings['sampler'], string>;

/** How an optimizer step of a stage is split over GPUs, and what changes with their number: batch, learning rate, batch norms, draws. */
export function describeSplit({ batch, ranks, effectiveBatch, learningRate, sampler }: TrainSettings): string {
  const images = effectiveBatch ?? batch * ranks;
  const parts = images / (batch * ranks);
  const madeOf = `${images} images per step (${ranks} ranks x ${batch}${parts > 1 ? ` x ${parts} batches accumulated` : ''}), learning rate ${learningRate}`;
  return `${madeOf}; both stay the same with other ranks; batch norms see the ${batch} images of one rank; ${dependence[sampler]}`;
}
