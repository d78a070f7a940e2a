import { rm } from 'node:fs/promises';
import { type AttemptSpecOf, CairnError, type StoredFile, type TrainerEvent } from '@cairn/contract';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { longPatienceMs, uploadFile } from '../agent/stored-files.ts';

export type CheckpointEvent = Extract<TrainerEvent, { event: 'checkpoint' }>;

/** This many of the newest checkpoints stay on the local disk. */
const keptLocally = 2;

/**
 * Stores checkpoints one after another while training continues: first the object, then the report of it. A checkpoint that is
 * still waiting when a newer one is written is skipped, unless it is the final one.
 */
export function checkpointUploads(context: AttemptContext<AttemptSpecOf<'train'>>) {
  const { reporter, log } = context;
  const local: string[] = [];
  let waiting: CheckpointEvent[] = [];
  let running: Promise<void> | null = null;
  let failed: { error: unknown } | null = null;
  let final: { file: StoredFile; event: CheckpointEvent } | null = null;

  async function store(event: CheckpointEvent): Promise<void> {
    const name = event.final ? 'checkpoint.pt' : `checkpoints/step-${String(event.step).padStart(8, '0')}.pt`;
    const file = await uploadFile(context, name, { file: event.path }, { patienceMs: longPatienceMs });
    if (file.sha256 !== event.sha256 || file.bytes !== event.bytes) {
      throw new CairnError('corrupt_artifact', `The checkpoint ${event.path} changed on its way into ${file.key}: check the disk`);
    }
    const { bytes, sha256 } = file;
    reporter.report({ type: 'checkpoint', key: file.key, bytes, sha256, step: event.step, epoch: event.epoch, final: event.final });
    if (event.final) final = { file, event };
  }

  async function drain(): Promise<void> {
    for (let event = waiting.shift(); event !== undefined; event = waiting.shift()) {
      try {
        await store(event);
      } catch (error) {
        if (context.stop.ended.aborted) return;
        // Without its final checkpoint the stage cannot succeed; without another one it can.
        if (event.final) failed = { error };
        const why = error instanceof Error ? error.message : String(error);
        log.warn({ err: error }, 'a checkpoint was not stored');
        reporter.report({
          type: 'note',
          level: 'warning',
          message: `The checkpoint of step ${event.step} was not stored: ${why}`,
        });
      }
      local.push(event.path);
      for (const path of local.splice(0, Math.max(0, local.length - keptLocally))) await rm(path, { force: true });
    }
  }

  return {
    add(event: CheckpointEvent): void {
      const skippedNote = waiting.filter((earlier) => !earlier.final && earlier.path !== event.path);
      for (const { path } of skippedNote) local.unshift(path);
      waiting = [...waiting.filter((earlier) => !skippedNote.includes(earlier)), event];
      running ??= drain().finally(() => {
        running = null;
      });
    },
    /** Waits for all uploads; throws when the final checkpoint was not stored. Returns it, if there was one. */
    async settle(): Promise<{ file: StoredFile; event: CheckpointEvent } | null> {
      await running;
      if (failed !== null) throw failed.error;
      return final;
    },
  };
}
