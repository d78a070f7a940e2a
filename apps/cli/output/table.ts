import { stripVTControlCharacters } from 'node:util';
import type { Ui } from './ui.ts';
import { formatBytes, formatCount } from './units.ts';
import { printableLine } from './visible-text.ts';

/** Columns that a text takes on a terminal: colours take none. */
export function visibleWidth(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

/** Pads a text with spaces to a width. */
export function padTo(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, width - visibleWidth(text)));
  return align === 'left' ? text + space : space + text;
}

/** Cuts a text to a width, keeping colours intact, and marks the cut. */
export function cutTo(text: string, width: number, ellipsis = '…'): string {
  if (visibleWidth(text) <= width) return text;
  const room = Math.max(0, width - visibleWidth(ellipsis));
  let shown = 0;
  let cut = '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape that begins a colour
  for (const part of text.split(/(\x1b\[[0-9;]*m)/)) {
    if (part.startsWith('\x1b[')) {
      cut += part;
      continue;
    }
    const taken = [...part].slice(0, room - shown);
    shown += taken.length;
    cut += taken.join('');
  }
  return cut + ellipsis;
}

export type Column = { title: string; align?: 'left' | 'right' };

export type TableOptions = {
  /** How titles are highlighted. */
  heading?: (text: string) => string;
  gap?: string;
  indent?: string;
};

/** Rows in aligned columns under their titles, without lines between. The last column is not padded. */
export function tableLines(columns: readonly Column[], given: readonly (readonly string[])[], options: TableOptions = {}): string[] {
  const rows = given.map((cells) => cells.map(printableLine));
  const { heading = (text) => text, gap = '   ', indent = '' } = options;
  const widths = columns.map((column, index) => Math.max(visibleWidth(column.title), ...rows.map((row) => visibleWidth(row[index] ?? ''))));
  const lineOf = (cells: readonly string[]): string =>
    indent + columns.map((column, index) => padTo(cells[index] ?? '', widths[index] ?? 0, column.align)).join(gap);
  const lines = rows.map((row) => lineOf(row).trimEnd());
  const titles = lineOf(columns.map((column) => column.title)).trimEnd();
  return columns.some((column) => column.title !== '') ? [heading(titles), ...lines] : lines;
}

type Counts = { rows: number; labels: number; noisy: number; unlabelled: number; bytes: number };

/** Lists by name with their counts; `more` are rows of other files. */
export function listTable(lists: Readonly<Record<string, Counts>>, { style }: Pick<Ui, 'style'>, more: string[][] = []): string[] {
  const right = { align: 'right' as const };
  const columns = [
    { title: 'list' },
    { title: 'rows', ...right },
    { title: 'labels', ...right },
    { title: 'noisy', ...right },
    { title: 'without label', ...right },
    { title: 'size', ...right },
  ];
  const rows = Object.entries(lists).map(([name, { rows: n, labels, noisy, unlabelled, bytes }]) => [
    style.bold(name),
    ...[n, labels, noisy, unlabelled].map(formatCount),
    formatBytes(bytes),
  ]);
  return tableLines(columns, [...rows, ...more], { heading: style.dim });
}
