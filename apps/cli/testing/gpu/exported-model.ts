import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exporterConfig, type TrainerEvent, trainerEvent } from '@cairn/contract';
import { drawnLabels } from '@cairn/testing/bench/trainer-run';
import { z } from 'zod';
import { askPython, type PhaseContext, pythonRun } from './phase.ts';
import { rivals } from './phases/machine.ts';
import { runWell } from './run-bounded.ts';

const drawing = join(import.meta.dirname, '../../../../libs/testing/bench/plain_training.py');

export type DrawnModel = {
  backbone: string;
  imageSize: number;
  weights: { path: string; sha256: string };
  list: { path: string; rows: number; labels: number };
  images: string;
};

/** The model that export and extraction are measured with: the deepest that the reference submits at its size, or a toy. */
export const chosenModel = (isDry: boolean) =>
  isDry ? { backbone: 'resnet18', imageSize: 64, files: 12 } : { backbone: 'se_resnet101_ibn_a', imageSize: 512, files: 240 };

/** How close features are to those of PyTorch in fp32, over some images. */
export const agreement = z.object({ images: z.number(), median: z.number(), least: z.number(), device: z.string() });

/** The arguments by which a command of rivals.py finds the model's weights. */
export function weightsFlags({ backbone, imageSize, weights }: DrawnModel): string[] {
  return ['--backbone', backbone, '--weights', weights.path, '--size', String(imageSize)];
}

/** Draws images and makes weights for a phase. */
export async function drawModel(context: PhaseContext): Promise<DrawnModel> {
  const { backbone, imageSize, files } = chosenModel(context.isDry);
  await runWell(pythonRun(context, drawing, ['make', context.folder, '--count', String(files)], { what: 'drawing JPEG files' }));
  const args = ['checkpoint', join(context.folder, 'weights.pt'), '--backbone', backbone, '--size', String(context.isDry ? 64 : 256)];
  const weights = z.object({ path: z.string(), sha256: z.string() }).parse(await askPython(context, rivals, args, 'making weights'));
  const list = { path: join(context.folder, `list-${files}.parquet`), rows: files, labels: drawnLabels };
  return { backbone, imageSize, weights, list, images: join(context.folder, 'images') };
}

/** Exports by the real exporter, which compares with PyTorch on the CPU; the path of the ONNX file and what it reported. */
export async function exportModel(
  context: PhaseContext,
  { backbone, imageSize, weights, list, images }: DrawnModel,
  precision: 'fp32' | 'fp16',
) {
  const folder = join(context.folder, `export-${precision}`);
  await mkdir(folder);
  const config = exporterConfig.parse({
    protocol: 1,
    settings: { imageSize, precision, checkImages: 8 },
    model: { backbone },
    checkpoint: weights,
    list,
    imageRoot: images,
    outputDir: folder,
    eventsPath: join(folder, 'events.ndjson'),
  });
  const path = join(folder, 'export.json');
  await writeFile(path, JSON.stringify(config));
  const began = performance.now();
  await runWell(pythonRun(context, 'cairn_trainer.export', ['--config', path], { what: `the export in ${precision}` }));
  const lines = (await readFile(config.eventsPath, 'utf8')).trimEnd().split('\n');
  const events: TrainerEvent[] = lines.map((line) => trainerEvent.parse(JSON.parse(line)));
  const told = events.find((event) => event.event === 'exported');
  if (told === undefined) throw new Error('the exporter reported no model');
  return { path: join(folder, 'model.onnx'), cosine: told.cosine, images: told.images, seconds: (performance.now() - began) / 1000 };
}
