import { CairnError } from '@cairn/contract';
import type { TakenFile } from './find-metadata.ts';
import { csvFields, decoded, textLines } from './text-lines.ts';

export type BadRow = { file: string; path: string; line: number; column: string | null; columnNumber: number; expected: string };

/**
 * The error for a bad row: file, 1-based line, column and what was expected. Never the actual content: a link could lead to another user's
 * file, which the user who registers the dataset must not read.
 */
export function badRowError(row: BadRow): CairnError {
  const column = row.column === null ? '' : ` (${row.column})`;
  const message = `${row.path}, line ${row.line}, column ${row.columnNumber}${column}: expected ${row.expected}; correct the line`;
  return new CairnError('bad_row', message, { details: row });
}

/**
 * Finds the first row that violates the rules of its file. The fast reader only detects that there is one; this pass reads line by line to
 * locate it. Null if it finds none.
 */
export async function locateBadRow(
  { file, path, copy, header, unique }: TakenFile & { unique: string | undefined },
  signal?: AbortSignal,
): Promise<BadRow | null> {
  const places = file.columns.map((rule) => ({ rule, at: header.indexOf(rule.name), pattern: new RegExp(`^(?:${rule.pattern})$`) }));
  const seen = new Map<string, number>();
  const uniqueAt = unique === undefined ? -1 : header.indexOf(unique);
  for await (const line of textLines(copy, signal)) {
    if (line.number === 1 || line.bytes.length === 0) continue;
    const bad = (columnNumber: number, expected: string): BadRow => {
      const column = places.find(({ at }) => at === columnNumber - 1)?.rule.name ?? null;
      return { file: file.name, path, line: line.number, column, columnNumber, expected };
    };
    const text = decoded(line);
    if (text === null) return bad(1, 'UTF-8 text');
    const { fields, fault } = csvFields(text);
    if (fault) return bad(fault.column, fault.expected);
    if (fields.length !== header.length) {
      return bad(Math.min(fields.length, header.length) + (fields.length < header.length ? 1 : 0), `${header.length} columns`);
    }
    for (const { rule, at, pattern } of places) {
      const value = fields[at] ?? '';
      if (!pattern.test(value)) return bad(at + 1, rule.expected);
    }
    const usage = fields[header.indexOf('Usage')];
    const images = header.indexOf('images');
    if (usage !== undefined && usage !== 'Ignored' && ['', 'None'].includes(fields[images] ?? '')) {
      return bad(images + 1, `at least one image id, since Usage is ${usage}`);
    }
    const key = uniqueAt === -1 ? undefined : fields[uniqueAt];
    if (key !== undefined) {
      const before = seen.get(key);
      if (before !== undefined) return bad(uniqueAt + 1, `a unique value (it is also in line ${before})`);
      seen.set(key, line.number);
    }
  }
  return null;
}
