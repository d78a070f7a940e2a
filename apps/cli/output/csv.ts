/**
 * A table as RFC 4180 has it: lines end with CRLF, and a cell with a comma, a quote or a line break is quoted. A text that a spreadsheet
 * would run as a formula begins with an apostrophe; numbers stay numbers.
 */
export function csvOf(titles: readonly string[], rows: readonly (readonly (string | number | null)[])[]): string {
  return [titles, ...rows].map((cells) => `${cells.map(cellOf).join(',')}\r\n`).join('');
}

function cellOf(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
