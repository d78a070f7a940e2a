import { type StepKind, stepSettings } from '@cairn/contract';
import type { LaunchSpec } from '@cairn/executor';

/** What the loader processes of a training step keep in shared memory: whole batches of decoded images. Nothing for other steps. */
export function loaderOf(step: { kind: StepKind; settings: unknown }): Pick<LaunchSpec, 'loader'> {
  if (step.kind !== 'train') return {};
  const { ranks, loaderWorkers, batch, imageSize } = stepSettings.train.parse(step.settings);
  if (loaderWorkers === 0) return {};
  return { loader: { ranks, workers: loaderWorkers, batch, bytesPerImage: imageSize ** 2 * 3 } };
}
