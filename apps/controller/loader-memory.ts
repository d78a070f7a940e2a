import { type StepKind, stepSettings } from '@cairn/contract';
import { settingsOfLargestLoader, type Transaction, type Waiting } from '@cairn/db';
import type { LaunchSpec, LoaderMemory } from '@cairn/executor';

/** What the loader processes of a training step keep in shared memory: whole batches of decoded images. Nothing for other steps. */
export function loaderOf(step: { kind: StepKind; settings: unknown }): Pick<LaunchSpec, 'loader'> {
  if (step.kind !== 'train') return {};
  const { ranks, loaderWorkers, batch, imageSize } = stepSettings.train.parse(step.settings);
  if (loaderWorkers === 0) return {};
  return { loader: { ranks, workers: loaderWorkers, batch, bytesPerImage: imageSize ** 2 * 3 } };
}

/** Of the training steps that wait, the loaders that keep most there; undefined when none has loaders. */
export async function largestLoader(db: Transaction, waiting: Waiting['waiting']): Promise<LoaderMemory | undefined> {
  const stages = waiting.filter((step) => step.pool === 'gpu' && !step.isFleet).map((step) => step.stepId);
  if (stages.length === 0) return undefined;
  const settings = await settingsOfLargestLoader(db, stages);
  return settings === null ? undefined : loaderOf({ kind: 'train', settings }).loader;
}
