import type { MiniDatasetOptions } from '@cairn/dataset';
import type { Registrar, Session } from '../cli.ts';
import { createLiveScreen } from '../output/live-screen.ts';
import type { Ui } from '../output/ui.ts';
import { formatBytes, formatCount, formatDuration, plural } from '../output/units.ts';
import { bar } from '../watch/step-text.ts';
import { wholeNumber } from './options.ts';

export function addMini({ program, action }: Registrar): void {
  program
    .command('mini')
    .description('makes the mini dataset: drawn landmarks in the very format of GLDv2')
    .requiredOption('--out <folder>', 'the folder to make')
    .option('--seed <number>', 'the same seed gives the same bytes', wholeNumber(0, 2 ** 31 - 1), 0)
    .action(action(mini));
}

async function mini({ ui, signal }: Session, options: { out: string; seed: number }): Promise<undefined> {
  const manifest = await makeMini({ ...options, ui, signal });
  ui.json(manifest);
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

/** Makes the mini dataset, or finds it made, and shows how far it is. */
export async function makeMini({ out, seed, counts, ui, signal }: MakeMiniOptions) {
  // Loaded when needed: its native parts would slow down every other command.
  const { makeMiniDataset } = await import('@cairn/dataset');
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
  const how = drawn === 0 ? 'was there' : `made in ${time}`;
  ui.line(
    `${counts === undefined ? 'mini' : 'tiny'} dataset ${how}: ${images} of ${formatCount(landmarks)} landmarks, ${formatBytes(manifest.bytes)}, seed ${seed}  ${ui.style.dim(out)}`,
  );
  return manifest;
}

/** One line with a bar on a terminal; a line every quarter elsewhere. */
export function createProgressLine(ui: Ui, label: string) {
  const screen = ui.isTerminal ? createLiveScreen(ui.stdout) : null;
  let drawnAt = 0;
  let quarter = 0;
  return {
    show: (done: number, total: number): void => {
      const share = total === 0 ? 1 : done / total;
      if (screen === null) {
        const reached = Math.floor(share * 4);
        if (reached > quarter) ui.line(`${label}: ${reached * 25} %  ${formatCount(done)}/${formatCount(total)}`);
        quarter = Math.max(quarter, reached);
        return;
      }
      // Ten times a second is smooth; an image takes less.
      if (performance.now() - drawnAt < 100 && done < total) return;
      drawnAt = performance.now();
      screen.draw([
        `${label}  ${bar(share, 20, ui)} ${`${Math.floor(share * 100)} %`.padStart(5)}  ${formatCount(done)}/${formatCount(total)}`,
      ]);
    },
    close: (): void => {
      screen?.draw([]);
      screen?.close();
    },
  };
}
