/** Text of others in Markdown: as it reads, on one line, and without being Markdown or HTML itself. */
export function markdownText(text: string): string {
  const line = oneLine(text);
  const url = /^https?:\/\/\S+$/.test(line) ? URL.parse(line) : null;
  // Escapes inside an address would be part of it: it is normalized, which leaves no bracket in it.
  if (url !== null && !/[<>]/.test(url.href)) return `<${url.href}>`;
  return line
    .replace(/[\\`*_[\]|~$#!]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}

/** Text of others as code: fenced by more backticks than it has in a row. */
export function markdownCode(text: string): string {
  const line = oneLine(text);
  const fence = '`'.repeat(Math.max(0, ...(line.match(/`+/g) ?? []).map((run) => run.length)) + 1);
  return line.includes('`') ? `${fence} ${line} ${fence}` : `${fence}${line}${fence}`;
}

/** A table whose cells are Markdown already: what would end a cell or a row does not. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => oneLine(cell).replace(/(?<!\\)\|/g, '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)];
}

/** Without line ends, controls, marks of direction and half surrogates. */
function oneLine(text: string): string {
  return text
    .replace(/[\s\u0085]+/g, ' ')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '')
    .trim();
}
