import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { z } from 'zod';
import { type ChildJobOf, extractionAnswer, type ShardAnswer, suspectFile } from '../child/messages.ts';
import { ChildEndedError } from '../child/start-child.ts';
import type { Computing, FleetContext } from '../fleet/run-shards.ts';

/** A shard that ends its child this often is extracted image by image. */
const crashesOfShard = 3;
/** An image that ends its child this often, alone and beside a picture that does not, is rejected. */
const crashesOfImage = 2;
/** More such images than this in one shard have another cause. */
const mostPoison = 10;

/** What a shard has done to the children of all its holders. */
export const shardCrashes = z.object({
  /** Children that ended at it. */
  ends: z.number().int(),
  /** Of images that were read alone, how many ended at each. */
  suspicion: z.record(z.string(), z.number().int()),
});
export type ShardCrashes = z.infer<typeof shardCrashes>;

type Care = Computing & {
  context: Pick<FleetContext, 'reporter'>;
  /** The folder of the journals of this place. */
  journals: string;
  /** The numbers of the sets that lack the shard. */
  sets: readonly number[];
  /** What earlier holders of the shard have seen; null for nothing. */
  before: ShardCrashes | null;
  /** Keeps it for later holders. Never fails. */
  remember(crashes: ShardCrashes): Promise<void>;
};

/**
 * Extracts a shard, however often its child ends: the next one goes on behind the last finished batch. If that does not help, the images are
 * done one by one, which tells the image that ends the child: it is rejected if it does so again, alone, and the child can do a picture of
 * its own. Ends at earlier holders of the shard, on other machines, count too. A machine on which that picture fails too, or on which more than {@link mostPoison} images do, is at fault itself.
 *
 * @throws CairnError `program_failed` when the machine is at fault; {@link ChildEndedError} when a child cannot be opened
 */
export async function computeWithCare(care: Care): Promise<ShardAnswer[]> {
  const { context, ask, shard, onProgress, before, remember } = care;
  const ended = endsOf(care);
  for (let ends = before?.ends ?? 0; ends < crashesOfShard; ) {
    try {
      return await ask(jobOf(care, { isOneByOne: false, rejects: [] }), extractionAnswer, onProgress);
    } catch (error) {
      const { message } = ended(error);
      ends += 1;
      await remember({ ends, suspicion: {} });
      const next = ends < crashesOfShard ? 'another one goes on behind its last finished batch' : 'its images are done one by one';
      note(context, `Shard ${shard.index}: ${message}; ${next}`);
    }
  }
  return imageByImage(care, ended);
}

async function imageByImage(care: Care, ended: (error: unknown) => ChildEndedError): Promise<ShardAnswer[]> {
  const { context, ask, shard, journals, onProgress, before, remember } = care;
  const rejects: { imageId: string; reason: string }[] = [];
  const suspicion = new Map(Object.entries(before?.suspicion ?? {}));
  /** The machine is at fault: what it suspects is nothing to the next one. */
  const acquit = async (why: string): Promise<CairnError> => {
    await remember({ ends: crashesOfShard, suspicion: {} });
    return machineError(care, why);
  };
  const suspect = join(journals, suspectFile(shard.index));
  for (;;) {
    await rm(suspect, { force: true });
    try {
      return await ask(jobOf(care, { isOneByOne: true, rejects }), extractionAnswer, onProgress);
    } catch (error) {
      const { how } = ended(error);
      await probe(care, ended, acquit);
      const imageId = await readFile(suspect, 'utf8').catch(() => '');
      const crashes = (suspicion.get(imageId) ?? 0) + 1;
      suspicion.set(imageId, crashes);
      await remember({ ends: crashesOfShard, suspicion: Object.fromEntries(suspicion) });
      if (crashes < crashesOfImage) continue;
      // It ended before or after its images, twice.
      if (imageId === '') throw await acquit(`the compute process ${how}, at none of its images`);
      if (rejects.length === mostPoison) throw await acquit(`more than ${mostPoison} images end the compute process (it ${how})`);
      rejects.push({ imageId, reason: `crashes the decoder: alone in a process, which ${how}, ${crashes} times` });
      note(context, `Shard ${shard.index}: the image ${imageId} is left out, because it ends the process that reads it (it ${how})`);
    }
  }
}

/** @throws CairnError `program_failed` when a picture that every machine can do ends the child as well */
async function probe(care: Care, ended: (error: unknown) => ChildEndedError, acquit: (why: string) => Promise<CairnError>): Promise<void> {
  try {
    await care.ask({ kind: 'probe' }, z.null());
  } catch (error) {
    throw await acquit(`the compute process ${ended(error).how} also with a picture of its own, so no image is at fault`);
  }
}

function machineError({ shard }: Care, why: string): CairnError {
  return new CairnError('program_failed', `Shard ${shard.index}: ${why}. Check memory, GPU and driver of this machine`);
}

/** The error of a child that ended at its work; throws every other one. */
function endsOf({ signal }: Care): (error: unknown) => ChildEndedError {
  return (error) => {
    signal.throwIfAborted();
    if (!(error instanceof ChildEndedError) || error.isOpening) throw error;
    return error;
  };
}

function jobOf(
  { shard: { index, from, count }, sets }: Care,
  { isOneByOne, rejects }: Pick<ChildJobOf<'extractShard'>, 'isOneByOne' | 'rejects'>,
): ChildJobOf<'extractShard'> {
  return { kind: 'extractShard', index, from, count, sets: [...sets], isOneByOne, rejects };
}

function note({ reporter }: Pick<FleetContext, 'reporter'>, message: string): void {
  reporter.report({ type: 'note', level: 'warning', message: message.slice(0, 4000) });
}
