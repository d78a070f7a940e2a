import { fileChunks } from '../file-gate.ts';

type TextLine = { number: number; bytes: Buffer };

const newline = 0x0a;

/** The lines of a copied file, as bytes without their line end, 1-based, one in memory at a time. */
export async function* textLines(path: string, signal?: AbortSignal): AsyncGenerator<TextLine> {
  let rest: Buffer[] = [];
  let number = 1;
  const line = (pieces: Buffer[]): TextLine => {
    let bytes = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
    if (number === 1 && bytes.subarray(0, 3).equals(byteOrderMark)) bytes = bytes.subarray(3);
    return { number: number++, bytes };
  };
  for await (const chunk of fileChunks(path, signal)) {
    let from = 0;
    for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
      yield line([...rest, chunk.subarray(from, at)]);
      rest = [];
      from = at + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (rest.length > 0) yield line(rest);
}

const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text of a line, or null if it is not UTF-8. */
export function decoded(line: TextLine): string | null {
  try {
    return strictUtf8.decode(line.bytes);
  } catch {
    return null;
  }
}

/** The first line of a file; empty if the file is empty. */
export async function firstLine(path: string, signal?: AbortSignal): Promise<string> {
  for await (const line of textLines(path, signal)) return decoded(line) ?? '';
  return '';
}

/** What a file without the expected first line is instead of text in UTF-8, by its first bytes; null where it is such text. */
export async function otherThanText(path: string): Promise<string | null> {
  for await (const chunk of fileChunks(path)) {
    const mark = chunk.toString('latin1', 0, 4);
    if (mark === '\xff\xfe\0\0') return 'in UTF-32';
    if (mark.startsWith('\xff\xfe') || mark.startsWith('\xfe\xff')) return 'in UTF-16';
    if (mark === 'PK\x03\x04') return 'a zip archive';
    if (chunk.subarray(0, 1024).includes(0)) return 'not text in UTF-8: it has NUL bytes, as UTF-16 has';
    return (await firstLine(path)) === '' ? 'without a first line that can be read' : null;
  }
  return 'empty';
}

/** A field of a CSV line that cannot be read, 1-based. */
type FieldFault = { column: number; expected: string };

/** The fields of one CSV line (RFC 4180, comma, double quotes), or what is wrong with it. */
export function csvFields(line: string): { fields: string[]; fault: null } | { fields: null; fault: FieldFault } {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    const column = fields.length + 1;
    if (line[at] === '"') {
      let value = '';
      let from = at + 1;
      for (;;) {
        const quote = line.indexOf('"', from);
        if (quote === -1) return { fields: null, fault: { column, expected: 'a closing quote before the end of the line' } };
        value += line.slice(from, quote);
        if (line[quote + 1] !== '"') {
          at = quote + 1;
          break;
        }
        value += '"';
        from = quote + 2;
      }
      if (at < line.length && line[at] !== ',') return { fields: null, fault: { column, expected: 'a comma after the closing quote' } };
      fields.push(value);
    } else {
      const comma = line.indexOf(',', at);
      const end = comma === -1 ? line.length : comma;
      const value = line.slice(at, end);
      if (value.includes('"')) return { fields: null, fault: { column, expected: 'a field with quotes to be quoted as a whole' } };
      fields.push(value);
      at = end;
    }
    if (at >= line.length) return { fields, fault: null };
    at += 1;
  }
}
