import { fileURLToPath } from 'node:url';
import { type ErrorRow, errorTable } from './errors.ts';
import { writeOrCheck } from './generated-file.ts';

/** docs/errors.md, which this file generates from the table of errors.ts. */
export const errorsPagePath = fileURLToPath(new URL('../../docs/errors.md', import.meta.url));

const fixers: Record<ErrorRow['fix'], string> = {
  caller: 'the caller',
  operator: 'the operator',
  'data owner': "the data's owner",
  cairn: 'a defect or a race in Cairn',
};

/** The page's text: one row per code, ordered by HTTP status and name. */
export function errorsPage(): string {
  const rows: [string, ErrorRow][] = Object.entries(errorTable);
  rows.sort(([nameA, a], [nameB, b]) => a.status - b.status || nameA.localeCompare(nameB, 'en'));
  const table = rows.map(([code, row]) => {
    const cells = [`\`${code}\``, String(row.status), row.retry ? 'yes' : 'no', fixers[row.fix], `${row.title}. ${row.remedy}`];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return `${[
    '# Errors',
    '',
    '<!-- Generated from libs/contract/errors.ts by `npx node libs/contract/generate-errors.ts`; `npm run check` compares. -->',
    '',
    'Every error answer of the API is a problem document (RFC 9457, `application/problem+json`). Its `code` is one in this table,',
    '`detail` says what happened to which thing, `remedy` what to do, `retry` whether the same call may succeed later, and',
    '`details` carries details such as field errors, the nearest name, or a file with its line. The command line prints the',
    'same and has exit codes of its own ([cli.md](cli.md)); a failed step carries the code in its failure.',
    '',
    '| code | HTTP status | retry | who can fix it | what happened, what to do |',
    '| --- | --- | --- | --- | --- |',
    ...table,
  ].join('\n')}\n`;
}

if (import.meta.main) await writeOrCheck(errorsPagePath, errorsPage(), 'libs/contract/errors.ts');
