import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TrainerConfig, type TrainerEvent, trainerConfig, trainerEvent } from '@cairn/contract';

export type BenchStage = {
  /** The images and lists that `plain_training.py make` has drawn. */
  work: string;
  /** The stage's own folder. */
  folder: string;
  backbone: string;
  /** Rows of the list: all of them are one epoch. */
  rows: number;
  classes: number;
  /** In addition to the settings that all benchmarks share. */
  settings: { imageSize: number; batch: number; precision: string } & Record<string, unknown>;
  start?: TrainerConfig['start'];
  resume?: TrainerConfig['resume'];
};

/** The number of landmarks that `plain_training.py make` draws. */
export const drawnLabels = 100;

/** A stage of one rank and one epoch, at full speed. */
export function benchStage({ work, folder, backbone, rows, classes, settings, start = null, resume = null }: BenchStage): TrainerConfig {
  return trainerConfig.parse({
    protocol: 1,
    stage: 'bench',
    settings: {
      ...{
        from: 'init',
        list: 'clean',
        pad: Math.round(settings.imageSize / 25),
        epochs: 1,
        learningRate: 0.001,
        ranks: 1,
        deterministic: false,
      },
      ...settings,
    },
    model: { backbone },
    classes,
    list: { path: join(work, `list-${rows}.parquet`), rows, labels: drawnLabels },
    imageRoot: join(work, 'images'),
    ...{ evaluation: null, start, weights: null, resume },
    outputDir: folder,
    eventsPath: join(folder, 'events.ndjson'),
    stopPath: join(folder, 'stop'),
  });
}

/** The trainer's events so far. */
export async function toldEvents({ eventsPath }: Pick<TrainerConfig, 'eventsPath'>): Promise<TrainerEvent[]> {
  const lines = (await readFile(eventsPath, 'utf8')).split('\n').slice(0, -1);
  return lines.map((line) => trainerEvent.parse(JSON.parse(line)));
}

/** Images per second from the first reported step, when everything is warm, to the last. */
export function stepRate(events: readonly TrainerEvent[], batch: number): number {
  const steps = events.filter((event) => event.event === 'step');
  const [first, last] = [steps[0], steps.at(-1)];
  if (first === undefined || last === undefined || last.step === first.step) throw new Error('the trainer reported fewer than two steps');
  return ((last.step - first.step) * batch) / (last.time - first.time);
}
