import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import type { GroundTruth, Truth } from '../metrics/mean-average-precision.ts';

/** A row's cells, plain or in quotes: no id has a quote in it; and the form in words. */
type RowForm = { pattern: RegExp; form: string };
const submissionRow = { pattern: /^"?([^",\s]+)"?,"?([^",]*)"?$/, form: 'a query, a comma, and image ids separated by spaces' };
const solutionRow = {
  pattern: /^"?([^",\s]+)"?,"?([^",]*)"?,"?(Public|Private|Ignored)"?$/,
  form: 'a query, image ids separated by spaces or None, and Public, Private or Ignored, separated by commas',
};

/** What no row has: such an id would equal none, and its image would silently count as wrong. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is sought
const notText = /[\u0000-\u001f\u007f]/;

/**
 * Reads a submission in Kaggle's format: `id,images`, images separated by spaces, the best first. Throws `missing_file`, `missing_column` for another
 * header, `bad_row` with the line of a row that is none or of a query that comes twice.
 */
export async function readSubmission(path: string): Promise<Map<string, readonly string[]>> {
  return readRows(path, 'id,images', submissionRow, ([, images = '']) => idsOf(images));
}

/**
 * Reads `retrieval_solution_v2.1.csv`: `id,images,Usage`, images separated by spaces, None for an ignored query. Throws as {@link readSubmission}, and
 * `bad_row` for a scored query without ground truth.
 */
export async function readSolution(path: string): Promise<GroundTruth> {
  return readRows(path, 'id,images,Usage', solutionRow, ([, images = '', usage = ''], line): Truth => {
    const imageIds = images === 'None' ? [] : idsOf(images);
    if (usage !== 'Public' && usage !== 'Private') return { usage: 'Ignored', imageIds: [] };
    if (imageIds.length === 0) throw badRow(path, line, `the query is ${usage}, but has no ground truth`);
    return { usage, imageIds };
  });
}

function idsOf(images: string): string[] {
  return images.split(' ').filter((id) => id !== '');
}

async function readRows<Row>(
  path: string,
  header: string,
  { pattern, form }: RowForm,
  parse: (cells: string[], line: number) => Row,
): Promise<Map<string, Row>> {
  const rows = new Map<string, { row: Row; line: number }>();
  let line = 0;
  for await (const text of linesOf(path)) {
    line += 1;
    if (line === 1) {
      const given = text.replace(/^\uFEFF/, '').trim();
      if (/[\0\ufffd]/.test(given)) throw new CairnError('missing_column', `${path} is not text in UTF-8; save it as UTF-8 (${header})`);
      if (given !== header) throw new CairnError('missing_column', `${path} begins with ${quoted(given)}, not with the header ${header}`);
      continue;
    }
    if (text.trim() === '') continue;
    if (text.includes('\ufffd')) throw badRow(path, line, 'it is not text in UTF-8');
    if (notText.test(text)) throw badRow(path, line, `${quoted(text)} has a control character`);
    const cells = pattern.exec(text.trimEnd())?.slice(1);
    const [id] = cells ?? [];
    if (cells === undefined || id === undefined) throw badRow(path, line, `${quoted(text)} is not a row of ${header}: ${form}`);
    const earlier = rows.get(id);
    if (earlier !== undefined) throw badRow(path, line, `the query ${id} already has a row, line ${earlier.line}`);
    rows.set(id, { row: parse(cells, line), line });
  }
  if (line === 0) throw new CairnError('missing_column', `${path} is empty, without the header ${header}`);
  return new Map([...rows].map(([id, { row }]) => [id, row]));
}

async function* linesOf(path: string): AsyncGenerator<string, void, void> {
  const cannotRead = (cause: unknown) =>
    new CairnError('missing_file', `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
      details: { file: path, remedy: 'Pass the path of a CSV file that you may read.' },
    });
  // Without O_NONBLOCK the open of a pipe waits for a writer, and nothing could end it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: unknown) => {
    throw cannotRead(cause);
  });
  try {
    if (!(await file.stat()).isFile()) throw cannotRead('it is not a file');
    yield* file.readLines({ encoding: 'utf8' });
  } finally {
    await file.close();
  }
}

/** The beginning of a line, for a message. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}

function badRow(path: string, line: number, what: string): CairnError {
  return new CairnError('bad_row', `${path}, line ${line}: ${what}`, { details: { file: path, line } });
}
