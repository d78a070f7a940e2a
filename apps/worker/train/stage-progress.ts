import type { AttemptSpecOf, TrainerEvent } from '@cairn/contract';
import type { Reporter } from '../report/reporter.ts';

type StepEvent = Extract<TrainerEvent, { event: 'step' }>;
type EvaluationEvent = Extract<TrainerEvent, { event: 'evaluation' }>;

/** The curves of a training stage: the name of each and where its value comes from. */
const curves: Record<string, (event: StepEvent) => number> = {
  loss: (event) => event.loss,
  accuracy: (event) => event.accuracy,
  learning_rate: (event) => event.learningRate,
  images_per_second: (event) => event.imagesPerSecond,
  data_wait_share: (event) => event.dataWaitShare,
  gpu_memory_bytes: (event) => event.gpuMemoryBytes,
};

/** Tells the curves and the progress of a training stage from the trainer's events. */
export function stageProgress(reporter: Reporter, settings: AttemptSpecOf<'train'>['settings']) {
  let totalSteps = 0;
  return {
    started(event: Extract<TrainerEvent, { event: 'started' }>): void {
      totalSteps = event.totalSteps;
      const from = event.startStep > 0 ? `, from step ${event.startStep}` : '';
      reporter.tell({
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
    stepped(event: StepEvent): void {
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
