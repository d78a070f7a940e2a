import type { TrainSettings } from '@cairn/contract';

const dependence = {
  softmax: 'which images a step has does not depend on the ranks',
  gld: 'each rank draws rows of its own, so that with other ranks other rows are drawn',
  id_uniform: 'each rank goes through all landmarks in an order of its own',
} as const satisfies Record<TrainSettings['sampler'], string>;

/** How a step of a stage is split over GPUs, and what changes with their number: batch, learning rate, batch norms, draws. */
export function describeSplit({ batch, ranks, effectiveBatch, learningRate, sampler }: TrainSettings): string {
  const images = effectiveBatch ?? batch * ranks;
  const parts = images / (batch * ranks);
  const madeOf = `${images} images a step (${ranks} ranks x ${batch}${parts > 1 ? ` x ${parts} batches added` : ''}), learning rate ${learningRate}`;
  return `${madeOf}; both stay with other ranks; batch norms see the ${batch} images of one rank; ${dependence[sampler]}`;
}
