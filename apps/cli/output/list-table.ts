import { tableLines } from './table.ts';
import type { Ui } from './ui.ts';
import { formatBytes, formatCount } from './units.ts';

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
