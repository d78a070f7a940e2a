import { join } from 'node:path';
import type { MiniDatasetOptions } from '@cairn/mini-dataset';
import type { Registrar, Session } from '../cli.ts';
import { createProgressLine } from '../output/live-screen.ts';
import type { Ui } from '../output/ui.ts';
import { formatBytes, formatCount, formatDuration, plural } from '../output/units.ts';
import { wholeNumber } from './options.ts';

export function addMini({ program, action }: Registrar): void {
  program
    .command('mini')
    .description('makes the mini dataset: drawn landmarks in exactly the format of GLDv2')
    .requiredOption('--out <folder>', 'the folder to create')
    .option('--seed <number>', 'the same seed gives the same bytes', wholeNumber(0, 2 ** 31 - 1), 0)
    .action(action(mini));
}

async function mini({ ui, signal }: Session, options: { out: string; seed: number }): Promise<undefined> {
  const manifest = await makeMini({ ...options, ui, signal });
  ui.json(manifest);
  const places = ['images', 'metadata', 'countries'].map((part) => join(options.out, part));
  ui.note(
    ui.style.dim(`Register it with \`cairn dataset add mini --root ${places[0]} --metadata ${places[1]} --countries ${places[2]}\`.`),
  );
  return undefined;
}

export type MakeMiniOptions = {
  out: string;
  seed: number;
  /** Fewer images than the mini dataset has. */
  counts?: MiniDatasetOptions['counts'] | undefined;
  ui: Ui;
  signal: AbortSignal;
};

/** Makes the mini dataset, or finds it, and shows the progress. */
export async function makeMini({ out, seed, counts, ui, signal }: MakeMiniOptions) {
  // Loaded when needed: its native parts would slow down every other command.
  const { makeMiniDataset } = await import('@cairn/mini-dataset');
  const began = performance.now();
  const progress = createProgressLine(ui, 'drawing images');
  let drawn = 0;
  const manifest = await makeMiniDataset({
    out,
    seed,
    ...(counts === undefined ? {} : { counts }),
    signal,
    onProgress: ({ done, total }) => {
      drawn = done;
      progress.show(done, total);
    },
  }).finally(progress.close);
  const { train, index, test, landmarks } = manifest.counts;
  const images = plural(train + index + test, 'image');
  const time = formatDuration((performance.now() - began) / 1000);
  const how = drawn === 0 ? 'already there' : `made in ${time}`;
  ui.line(
    `${counts === undefined ? 'mini' : 'tiny'} dataset ${how}: ${images} of ${formatCount(landmarks)} landmarks, ${formatBytes(manifest.bytes)}, seed ${seed}  ${ui.style.dim(out)}`,
  );
  return manifest;
}
