import { CairnError } from '@cairn/contract';
import { csvFields } from './csv-fields.ts';
import type { MetadataFile } from './files.ts';
import { decoded, textLines } from './text-lines.ts';

export type BadRow = { file: string; path: string; line: number; column: string; columnNumber: number; expected: string; found: string };

const shownCharacters = 60;

/** The error that names a bad row: file, 1-based line, column, what was expected and what was found. */
export function badRowError(row: BadRow, cause?: unknown): CairnError {
  const found = row.found.length > shownCharacters ? `${row.found.slice(0, shownCharacters)}...` : row.found;
  return new CairnError(
    'bad_row',
    `${row.path}, line ${row.line}, column ${row.columnNumber} (${row.column}): expected ${row.expected}, found ${JSON.stringify(found)}; correct the line`,
    { details: { ...row, found }, cause },
  );
}

/**
 * Looks for the first row that breaks the rules of its file. The fast reader only tells that there is one; this pass reads
 * line by line to say where. Null when it finds none.
 */
export async function locateBadRow(
  file: MetadataFile,
  path: string,
  header: readonly string[],
  signal?: AbortSignal,
): Promise<BadRow | null> {
  const places = file.columns.map((rule) => ({ rule, at: header.indexOf(rule.name), pattern: new RegExp(`^(?:${rule.pattern})$`) }));
  const seen = new Map<string, number>();
  const uniqueAt = file.unique === undefined ? -1 : header.indexOf(file.unique);
  for await (const line of textLines(path, signal)) {
    if (line.number === 1 || line.bytes.length === 0) continue;
    const bad = (columnNumber: number, expected: string, found: string): BadRow => {
      return { file: file.name, path, line: line.number, column: header[columnNumber - 1] ?? 'none', columnNumber, expected, found };
    };
    const text = decoded(line);
    if (text === null) return bad(1, 'UTF-8 text', line.bytes.toString('latin1'));
    const { fields, fault } = csvFields(text);
    if (fault) return bad(fault.column, fault.expected, text);
    if (fields.length !== header.length) {
      return bad(Math.min(fields.length, header.length) + (fields.length < header.length ? 1 : 0), `${header.length} columns`, text);
    }
    for (const { rule, at, pattern } of places) {
      const value = fields[at] ?? '';
      if (!pattern.test(value)) return bad(at + 1, rule.expected, value);
    }
    const usage = fields[header.indexOf('Usage')];
    const images = header.indexOf('images');
    if (usage !== undefined && usage !== 'Ignored' && ['', 'None'].includes(fields[images] ?? '')) {
      return bad(images + 1, `at least one image id, since Usage is ${usage}`, fields[images] ?? '');
    }
    const key = uniqueAt === -1 ? undefined : fields[uniqueAt];
    if (key !== undefined) {
      const before = seen.get(key);
      if (before !== undefined) return bad(uniqueAt + 1, `a value that does not repeat (it stands in line ${before} too)`, key);
      seen.set(key, line.number);
    }
  }
  return null;
}
