import { open } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import type { GroundTruth, Truth } from '../metrics/ground-truth.ts';

/** A row's cells, plain or in quotes: no id has a quote in it. */
const submissionRow = /^"?([^",\s]+)"?,"?([^",]*)"?$/;
const solutionRow = /^"?([^",\s]+)"?,"?([^",]*)"?,"?(Public|Private|Ignored)"?$/;

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
  pattern: RegExp,
  parse: (cells: string[], line: number) => Row,
): Promise<Map<string, Row>> {
  const file = await open(path).catch((cause: unknown) => {
    throw new CairnError('missing_file', `${path} cannot be opened`, { cause, details: { file: path } });
  });
  const rows = new Map<string, Row>();
  let line = 0;
  for await (const text of file.readLines({ encoding: 'utf8' })) {
    line += 1;
    if (line === 1) {
      if (text.replace(/^\uFEFF/, '').trim() !== header)
        throw new CairnError('missing_column', `${path} does not begin with the header ${header}`);
      continue;
    }
    if (text.trim() === '') continue;
    const cells = pattern.exec(text.trimEnd())?.slice(1);
    const [id] = cells ?? [];
    if (cells === undefined || id === undefined) throw badRow(path, line, `this is not a row of ${header}`);
    if (rows.has(id)) throw badRow(path, line, `the query ${id} has a row before`);
    rows.set(id, parse(cells, line));
  }
  if (line === 0) throw new CairnError('missing_column', `${path} is empty, without the header ${header}`);
  return rows;
}

function badRow(path: string, line: number, what: string): CairnError {
  return new CairnError('bad_row', `${path}, line ${line}: ${what}`, { details: { file: path, line } });
}
