import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainerConfig, TrainerEvent } from '@cairn/contract';
import { sleep } from '@cairn/runtime';
import { benchStage, toldEvents } from '@cairn/testing/bench/trainer-run';
import { z } from 'zod';
import { askPython, type PhaseContext, pythonRun } from '../phase.ts';
import { runBounded, runWell } from '../run-bounded.ts';
import { rivals } from './machine.ts';
import { launchArguments } from './train.ts';

const drawing = join(import.meta.dirname, '../../../../../libs/testing/bench/plain_training.py');

const full = {
  backbone: 'resnet50',
  imageSize: 256,
  batch: 64,
  precision: 'fp16',
  steps: 24,
  every: 6,
  files: 240,
  loaderWorkers: 8,
} as const;
const toy = { backbone: 'resnet18', imageSize: 32, batch: 4, precision: 'fp32', steps: 12, every: 3, files: 16, loaderWorkers: 0 } as const;
/** What a pod gets between SIGTERM and SIGKILL, less what storing takes. */
const graceSeconds = 25;

const comparison = z.looseObject({ different: z.number() });
const stored = z.object({ path: z.string(), sha256: z.string() });

type Stored = { path: string; sha256: string };
type Ended = { events: TrainerEvent[]; config: TrainerConfig; seconds: number };

/**
 * A stage that is killed in the middle and goes on ends with the very weights of one that was not; SIGTERM leaves a checkpoint
 * within the grace period; a NaN weight ends the stage with the ids of the batch.
 */
export async function exactness(context: PhaseContext): Promise<void> {
  const sizes = context.isDry ? toy : full;
  const rows = sizes.steps * sizes.batch;
  await runWell(
    pythonRun(context, drawing, ['make', context.folder, '--count', String(sizes.files), '--rows', String(rows)], {
      what: 'drawing JPEG files',
    }),
  );
  const start = openStages(context, sizes);

  await context.attempt('killed and resumed', async () => {
    const whole = await start('whole', {});
    const killed = await start('killed', {}, { after: sizes.every * 2 + 1, signal: 'SIGKILL' });
    const checkpoint = killed.events.findLast((event) => event.event === 'checkpoint');
    if (checkpoint === undefined) throw new Error('the killed stage had written no checkpoint');
    const resumed = await start('resumed', { resume: checkpoint });
    const paths = [whole, resumed].map(finalOf);
    const found = comparison.parse(await askPython(context, rivals, ['compare-weights', ...paths], 'comparing weights'));
    context.record('resumed', { ...found, from: checkpoint.step, steps: sizes.steps });
    context.say(
      `killed, went on from step ${checkpoint.step}: ${found.different === 0 ? 'the same weights' : `${found.different} tensors differ`}`,
    );
    if (found.different > 0) throw new Error(`${found.different} tensors of the resumed stage differ: ${JSON.stringify(found)}`);
  });

  await context.attempt('SIGTERM', async () => {
    const { events, seconds } = await start('stopped', {}, { after: 2, signal: 'SIGTERM' });
    const saved = events.findLast((event) => event.event === 'checkpoint');
    const preempted = events.findLast((event) => event.event === 'preempted');
    context.record('stopped', { seconds, step: preempted?.step ?? null, savedStep: saved?.step ?? null });
    context.say(`SIGTERM: ended after ${seconds.toFixed(1)} s`);
    if (preempted === undefined || saved?.step !== preempted.step) throw new Error('SIGTERM left no checkpoint of the last step');
    if (seconds > graceSeconds) throw new Error(`SIGTERM took ${seconds.toFixed(1)} s; the grace is ${graceSeconds} s`);
  });

  await context.attempt('a NaN weight', async () => {
    const path = join(context.folder, 'nan.pt');
    const args = ['checkpoint', path, '--backbone', sizes.backbone, '--size', String(sizes.imageSize), '--passes', '0', '--nan'];
    const given = stored.parse(await askPython(context, rivals, args, 'planting a NaN'));
    const { events, config } = await start('diverged', { start: given });
    const failed = events.findLast((event) => event.event === 'failed');
    const report = diverged.parse(JSON.parse(await readFile(join(config.outputDir, 'diverged.json'), 'utf8')));
    const ids = report.ranks.flatMap(({ imageIds }) => imageIds);
    context.record('diverged', { code: failed?.code ?? null, images: ids.length, examples: ids.slice(0, 3) });
    context.say(`a NaN weight: ${failed?.code ?? 'no failure'}, ${ids.length} images named`);
    if (failed?.code !== 'training_diverged' || ids.length !== sizes.batch)
      throw new Error('a NaN did not stop the stage with the ids of its batch');
  });
}

const diverged = z.object({ ranks: z.array(z.object({ imageIds: z.array(z.string()) })) });

function finalOf({ events }: Ended): string {
  const final = events.findLast((event) => event.event === 'checkpoint' && event.final);
  if (final?.event !== 'checkpoint') throw new Error('a stage ended without its last checkpoint');
  return final.path;
}

/** Runs stages of the phase; with `strike` the launcher gets a signal once so many steps were reported. Its seconds count from there. */
function openStages(
  context: PhaseContext,
  { backbone, imageSize, batch, precision, steps, every, loaderWorkers }: typeof full | typeof toy,
) {
  return async (
    name: string,
    from: { start?: Stored; resume?: Stored },
    strike?: { after: number; signal: 'SIGKILL' | 'SIGTERM' },
  ): Promise<Ended> => {
    const folder = join(context.folder, name);
    await mkdir(folder);
    const config = benchStage({
      ...{ work: context.folder, folder, backbone, rows: steps * batch, classes: 100 },
      settings: { imageSize, batch, precision, loaderWorkers, deterministic: true, logEverySteps: 1, checkpointEverySteps: every },
      start: from.start ?? null,
      resume: from.resume === undefined ? null : { path: from.resume.path, sha256: from.resume.sha256 },
    });
    const path = join(folder, 'stage.json');
    await writeFile(path, JSON.stringify(config));
    const over = new AbortController();
    let struckAt = Date.now();
    const onStart = (pid: number) => {
      if (strike === undefined) return;
      void stepOf(config, strike.after, AbortSignal.any([context.signal, over.signal])).then(
        () => {
          struckAt = Date.now();
          process.kill(strike.signal === 'SIGKILL' ? -pid : pid, strike.signal);
        },
        () => undefined,
      );
    };
    try {
      await runBounded(
        pythonRun(context, 'cairn_trainer.launch', launchArguments(path), { what: `the stage ${name}`, limitMs: 60_000, onStart }),
      );
    } finally {
      over.abort();
    }
    return { events: await toldEvents(config), config, seconds: (Date.now() - struckAt) / 1000 };
  };
}

/** Waits until the trainer has reported this many steps. */
async function stepOf(config: TrainerConfig, step: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    const events = await toldEvents(config).catch(() => []);
    if (events.some((event) => event.event === 'step' && event.step >= step)) return;
    await sleep(20, signal);
  }
}
