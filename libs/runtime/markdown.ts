/**
 * Text from others in Markdown: readable, on one line, and without being interpreted as Markdown or HTML. A code host notifies nobody
 * because of it: an escape does not prevent a mention, but a space of no width behind the sign does.
 */
export function markdownText(text: string): string {
  const line = oneLine(text);
  const url = /^https?:\/\/\S+$/.test(line) ? URL.parse(line) : null;
  // Escapes inside an address would become part of it: it is normalized, which leaves no brackets in it.
  if (url !== null && !/[<>]/.test(url.href)) return `<${url.href}>`;
  return line
    .replace(/[\\`*_[\]|~$#!]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/(?<!\w)@(?=\w)/g, '@&#8203;');
}

/** Text from others as code: fenced by more backticks than it has in a row. */
export function markdownCode(text: string): string {
  const line = oneLine(text);
  const fence = '`'.repeat(Math.max(0, ...(line.match(/`+/g) ?? []).map((run) => run.length)) + 1);
  return line.includes('`') ? `${fence} ${line} ${fence}` : `${fence}${line}${fence}`;
}

/** A table whose cells are Markdown already, except that nothing in them ends a cell or a row. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => oneLine(cell).replace(/(\\*)\|/g, escapedPipe)).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)];
}

/** A pipe behind an odd number of backslashes is escaped already. */
const escapedPipe = (pipe: string, { length }: string): string => (length % 2 === 1 ? pipe : `${pipe.slice(0, -1)}\\|`);

/** Without line ends, control characters, direction marks and lone surrogates. */
function oneLine(text: string): string {
  return text
    .replace(/[\s\u0085]+/g, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '')
    .trim();
}
