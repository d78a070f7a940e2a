import { createLiveScreen } from './live-screen.ts';
import type { Look } from './style.ts';
import type { Ui } from './ui.ts';
import { formatCount } from './units.ts';

/** A bar of `width` columns for a share of 0 to 1. */
export function bar(share: number, width: number, { style, glyphs }: Look): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return style.accent(glyphs.barFull.repeat(full)) + style.dim(glyphs.barEmpty.repeat(width - full));
}

/** One line with a bar on a terminal; elsewhere, a line for every quarter. */
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

/** One progress line after another, each for a part of the work. */
export function createStagedProgress(ui: Ui) {
  let line: ReturnType<typeof createProgressLine> | null = null;
  let shown = '';
  return {
    show({ what, done, total }: { what: string; done: number; total: number }): void {
      if (what !== shown) {
        line?.close();
        line = createProgressLine(ui, what);
        shown = what;
      }
      line?.show(done, total);
    },
    close: (): void => line?.close(),
  };
}
