import { join } from 'node:path';
import { type AttemptSpecOf, isCairnError, type ResumePoint } from '@cairn/contract';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { fetchVerified } from '../agent/stored-files.ts';

/**
 * Fetches the newest checkpoint of the stage that is what was stored: one that is missing, cut short or changed is passed
 * over with a note, in favour of the one before. Null when there is none: the stage starts from its beginning.
 */
export async function newestResumePoint(
  context: AttemptContext<AttemptSpecOf<'train'>>,
  folder: string,
): Promise<{ path: string; sha256: string } | null> {
  for (const point of context.spec.resume.toSorted((a, b) => b.step - a.step)) {
    const path = join(folder, `${point.sha256}.pt`);
    try {
      await fetchVerified(context, point, path);
      context.reporter.tell({ type: 'resumed', checkpointId: point.id, step: point.step, epoch: point.epoch });
      context.log.info(`going on from the checkpoint of step ${point.step} (epoch ${point.epoch.toFixed(2)})`);
      return { path, sha256: point.sha256 };
    } catch (error) {
      if (!isCairnError(error, 'corrupt_artifact', 'not_found')) throw error;
      context.reporter.tell({ type: 'note', level: 'warning', message: passedOver(point, error.message) });
    }
  }
  return null;
}

function passedOver(point: ResumePoint, why: string): string {
  return `The checkpoint of step ${point.step} (${point.id}) does not verify and is passed over: ${why}`;
}
