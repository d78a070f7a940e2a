/** A field of a CSV line that cannot be read, 1-based. */
export type FieldFault = { column: number; expected: string };

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
