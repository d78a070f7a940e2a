import type { TrainerEvent } from '@cairn/contract';
import type { AttemptContext } from '../agent/attempt-context.ts';

/** Reports an image that the trainer could not read. The run's history keeps the first ones; the log has them all. */
export function reportBadImage(
  { log, reporter }: Pick<AttemptContext, 'log' | 'reporter'>,
  { imageId, path, reason }: Extract<TrainerEvent, { event: 'badImage' }>,
): void {
  log.warn({ imageId, path, reason }, 'an image cannot be read and is left out');
  reporter.report({ type: 'badImage', imageId, path, reason });
}
