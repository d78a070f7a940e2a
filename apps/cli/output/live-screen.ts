import type { Look } from './style.ts';
import { cutTo, visibleWidth } from './table.ts';
import type { TextOutput, Ui } from './ui.ts';
import { formatCount } from './units.ts';
import { printable, printableLine } from './visible-text.ts';

type LiveScreen = {
  /** Shows these lines in place of the previous ones. */
  draw: (lines: readonly string[]) => void;
  /** Writes a permanent line above the live ones. */
  above: (text: string) => void;
  /** Leaves the last lines where they are and shows the cursor again. */
  close: () => void;
};

const control = {
  hideCursor: '\x1b[?25l',
  showCursor: '\x1b[?25h',
  // Synchronized output: a terminal that supports it shows the whole change at once, others ignore it.
  begin: '\x1b[?2026h',
  end: '\x1b[?2026l',
  clearToEndOfLine: '\x1b[K',
  clearBelow: '\x1b[J',
  up: (rows: number) => (rows > 0 ? `\x1b[${rows}A` : ''),
};

/**
 * Lines redrawn in place on a terminal. Each line is cut to the width, so that none wraps, and overwritten rather than
 * cleared first, so that nothing flickers. When the terminal is made narrower it wraps the existing lines: the rows to go
 * back are counted with the new width.
 */
export function createLiveScreen(output: TextOutput): LiveScreen {
  let shown: string[] = [];
  let isOpen = true;
  output.write(control.hideCursor);

  const width = (): number => Math.max(20, output.columns ?? 80);
  const rowsShown = (): number => shown.reduce((rows, line) => rows + Math.max(1, Math.ceil(visibleWidth(line) / width())), 0);

  function paint(lines: readonly string[], before: string): void {
    const fitting = lines.slice(0, Math.max(1, (output.rows ?? 24) - 1)).map((line) => cutTo(printableLine(line), width() - 1));
    const body = fitting.map((line) => `${line}${control.clearToEndOfLine}\n`).join('');
    output.write(`${control.begin}${control.up(rowsShown())}\r${before}${body}${control.clearBelow}${control.end}`);
    shown = fitting;
  }

  return {
    draw: (lines) => {
      if (isOpen) paint(lines, '');
    },
    above: (text) => {
      if (isOpen) paint(shown, `${printable(text)}${control.clearToEndOfLine}\n`);
    },
    close: () => {
      if (isOpen) output.write(control.showCursor);
      isOpen = false;
    },
  };
}

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
