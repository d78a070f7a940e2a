import { type LedgerRow, lossCause } from '@cairn/contract';

const amounts = ['held', 'useful', 'running', 'lost', 'idle', 'queued', 'saved'] as const;
const titles = ['key', 'name', 'run', ...amounts, ...lossCause.options.map((cause) => `lost_${cause}`), 'cost', 'saved_cost'];

/** The first line of the ledger as CSV. */
export const ledgerCsvTitles = lineOf(titles);

/** Lines of the ledger as CSV, in GPU-seconds. */
export const ledgerCsv = (rows: readonly LedgerRow[]): string =>
  rows
    .map((row) =>
      lineOf([
        ...[row.key, row.name, row.runId],
        ...amounts.map((part) => row[part]),
        ...lossCause.options.map((cause) => row.lostBy[cause]),
        ...[row.cost, row.savedCost],
      ]),
    )
    .join('');

/**
 * A line as RFC 4180 has it: it ends with CRLF, and a cell with a comma, a quote or a line break is quoted. A text that a spreadsheet would
 * run as a formula begins with an apostrophe; numbers stay numbers.
 */
function lineOf(cells: readonly (string | number | null)[]): string {
  return `${cells.map(cellOf).join(',')}\r\n`;
}

function cellOf(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
