import { existsSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type AttemptSpecOf,
  CairnError,
  type CheckpointDetails,
  type FinishRequest,
  type StoredFile,
  type TrainerEvent,
} from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import { tensorBoardFolders } from '@cairn/storage';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { failure, failureOfProgram } from '../agent/failure.ts';
import type { Stop } from '../agent/stop.ts';
import { longPatienceMs, uploadFile, withImportNames } from '../agent/stored-files.ts';
import { type ProgramEnd, runProgram } from '../program/run-program.ts';
import { type Reporter, reportBadImage } from '../report/reporter.ts';
import { prepareStage } from './stage-config.ts';

type LastEvent = Extract<TrainerEvent, { event: 'finished' | 'failed' | 'preempted' }>;

/**
 * One attempt at a training stage: stages its inputs, runs the trainer under torchrun, reports its curves, stores its
 * checkpoints, and ends as the trainer's last event says.
 */
export const runTrain: Runner<'train'> = async (context) => {
  const { spec, reporter, stop } = context;
  const { config, configPath } = await prepareStage(context);
  const uploads = checkpointUploads(context);
  const progress = stageProgress(reporter, spec.settings);
  const scores: Pick<CheckpointDetails, 'mapAt100Start' | 'mapAt100End' | 'galleryDigest'> = {};
  let last: LastEvent | null = null;

  function onEvent(event: TrainerEvent): void {
    switch (event.event) {
      case 'started':
        progress.started(event);
        break;
      case 'step':
        progress.stepped(event);
        break;
      case 'checkpoint':
        uploads.add(event);
        break;
      case 'evaluation': {
        const { when, step, mapAt100, galleryDigest } = event;
        if (when !== 'epoch') scores[when === 'start' ? 'mapAt100Start' : 'mapAt100End'] = mapAt100;
        scores.galleryDigest = galleryDigest;
        progress.scored(event);
        reporter.report({ type: 'evaluation', when, step, mapAt100 });
        break;
      }
      case 'badImage':
        reportBadImage(context, event);
        break;
      case 'finished':
      case 'preempted':
        last = event;
        break;
      case 'failed':
        // The first failure is the cause; later ones are its consequences.
        last = last?.event === 'failed' ? last : { ...event, message: withImportNames(context, event.message) };
        break;
      case 'exported':
        break;
    }
  }

  stop.asked.throwIfAborted();
  const ranks = String(spec.settings.ranks);
  const end = await runProgram(context, {
    module: 'cairn_trainer.launch',
    args: ['--standalone', '--nproc-per-node', ranks, '--max-restarts', '0', '-m', 'cairn_trainer', '--config', configPath],
    cwd: dirname(configPath),
    eventsPath: config.eventsPath,
    stopPath: config.stopPath,
    onEvent,
  });
  await storeTensorBoardFiles(context, join(dirname(config.eventsPath), 'tensorboard'));
  const final = await uploads.settle();
  await logDivergence(context.log, join(config.outputDir, 'diverged.json'));
  return trainOutcome({ end, last, final, stop, details: { classes: config.classes, ...scores } });
};

/** The work folder does not outlive the attempt: the log keeps which images made the loss diverge. */
async function logDivergence(log: Logger, path: string): Promise<void> {
  if (existsSync(path)) log.error({ diverged: JSON.parse(await readFile(path, 'utf8')) }, 'the images of the batch that diverged');
}

type TrainEnd = {
  end: ProgramEnd;
  /** The trainer's last event about its end; null when it was cut off. */
  last: LastEvent | null;
  final: { file: StoredFile; event: CheckpointEvent } | null;
  stop: Pick<Stop, 'asked' | 'outcome'>;
  details: Pick<CheckpointDetails, 'classes' | 'mapAt100Start' | 'mapAt100End' | 'galleryDigest'>;
};

/** How the attempt ends, from what is known when the trainer is gone and its checkpoints are stored. */
function trainOutcome({ end, last, final, stop, details }: TrainEnd): FinishRequest {
  if (last?.event === 'finished' && final !== null) {
    const { step, epoch } = final.event;
    const made: CheckpointDetails = { step, epoch, ...details };
    return { outcome: 'succeeded', files: [{ ...final.file, name: 'checkpoint.pt' }], details: made };
  }
  if (last?.event === 'preempted') return stop.outcome(`saved and stopped at step ${last.step}`);
  if (stop.asked.aborted) return stop.outcome(`the trainer ${end.end} before it could save`);
  if (end.how === 'hung')
    return failure('infrastructure', 'hang', 'The trainer made no progress and was ended; its stacks are in the log (stderr)');
  if (last?.event === 'failed') return failureOfProgram(last.code, last.message);
  const words = end.lastOutput === '' ? '' : `. Its last output:\n${end.lastOutput}`;
  return failure('infrastructure', 'program_failed', `The trainer ${end.end} without reporting why${words}`);
}

/** Stores the event files that the trainer has written for TensorBoard. A failure is reported and ends nothing: the curves are also kept as metrics. */
async function storeTensorBoardFiles({ spec, store, stop, reporter, log }: AttemptContext, folder: string): Promise<void> {
  try {
    // A trainer that ended before its first step has none.
    const names = await readdir(folder).catch((): string[] => []);
    const { staged } = tensorBoardFolders(spec.attempt.id);
    for (const name of names) await store.put(`${staged}/${name}`, { file: join(folder, name) }, { signal: stop.ended });
  } catch (error) {
    if (stop.ended.aborted) return;
    log.warn({ err: error }, 'the files for TensorBoard were not stored');
    const why = error instanceof Error ? error.message : String(error);
    reporter.report({ type: 'note', level: 'warning', message: `The files for TensorBoard were not stored: ${why}` });
  }
}

type OptimizerStepEvent = Extract<TrainerEvent, { event: 'step' }>;
type EvaluationEvent = Extract<TrainerEvent, { event: 'evaluation' }>;

/** The curves of a training stage: the name of each and where its value comes from. */
const curves: Record<string, (event: OptimizerStepEvent) => number> = {
  loss: (event) => event.loss,
  accuracy: (event) => event.accuracy,
  learning_rate: (event) => event.learningRate,
  images_per_second: (event) => event.imagesPerSecond,
  data_wait_share: (event) => event.dataWaitShare,
  gpu_memory_bytes: (event) => event.gpuMemoryBytes,
};

/** Reports the curves and the progress of a training stage from the trainer's events. */
function stageProgress(reporter: Reporter, settings: AttemptSpecOf<'train'>['settings']) {
  let totalSteps = 0;
  return {
    started(event: Extract<TrainerEvent, { event: 'started' }>): void {
      totalSteps = event.totalSteps;
      const from = event.startStep > 0 ? `, from step ${event.startStep}` : '';
      reporter.report({
        type: 'note',
        level: 'info',
        message: `Training on ${event.worldSize} x ${event.device}: ${event.images} images, ${event.totalSteps} steps${from}`,
      });
      reporter.progress({
        done: event.startStep,
        total: totalSteps,
        unit: 'steps',
        rate: null,
        etaSeconds: null,
        message: 'training starts',
      });
    },
    stepped(event: OptimizerStepEvent): void {
      for (const [name, read] of Object.entries(curves)) reporter.metric(name, event.step, read(event), event.time);
      const { epoch, loss, imagesPerSecond } = event;
      reporter.progress({
        done: event.step,
        total: Math.max(totalSteps, event.step),
        unit: 'steps',
        rate: Math.max(0, imagesPerSecond),
        rateUnit: 'images',
        etaSeconds: Math.max(0, event.etaSeconds),
        message: `epoch ${epoch.toFixed(2)} of ${settings.lastEpoch ?? settings.epochs}, loss ${loss.toFixed(3)}, ${imagesPerSecond.toFixed(1)} images/s`,
      });
    },
    scored({ step, mapAt100, time }: EvaluationEvent): void {
      reporter.metric('map_at_100', step, mapAt100, time);
    },
  };
}

type CheckpointEvent = Extract<TrainerEvent, { event: 'checkpoint' }>;

/** This many of the newest checkpoints stay on the local disk. */
const keptLocally = 2;

/**
 * Stores checkpoints one after another while training continues: first the object, then the report of it. A checkpoint that is
 * still waiting when a newer one is written is skipped, unless it is the final one.
 */
function checkpointUploads(context: AttemptContext<AttemptSpecOf<'train'>>) {
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
