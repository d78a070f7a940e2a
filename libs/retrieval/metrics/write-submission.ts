import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CairnError } from '@cairn/contract';
import { wholeFile } from '../files/whole-file.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is sought
const unwritable = /[\s,"\u0000-\u001f\u007f]/;

/** Maximum number of images in a row of a submission. */
const SUBMISSION_IMAGES = 100;

/**
 * Writes `submission.csv` in Kaggle's format: the header `id,images`, then a row for every query in the order given, with its first 100
 * images, the best first, separated by spaces; a query without any has an empty cell. Throws `bad_row` for an id that the format cannot
 * hold, `storage_full`.
 */
export async function writeSubmission({
  path,
  queryIds,
  neighbours,
}: {
  path: string;
  queryIds: readonly string[];
  neighbours: ReadonlyMap<string, readonly string[]>;
}): Promise<void> {
  // Line by line: the whole text of a large submission would be longer than a string may be.
  function* lines(): Generator<string> {
    yield 'id,images\n';
    for (const queryId of queryIds) {
      const imageIds = (neighbours.get(queryId) ?? []).slice(0, SUBMISSION_IMAGES);
      yield `${plain(queryId)},${imageIds.map((id) => plain(id)).join(' ')}\n`;
    }
  }
  await wholeFile(path, (unfinished) => pipeline(Readable.from(lines()), createWriteStream(unfinished)));
}

/** Before a search of hours: throws `bad_row` for the first id that the format cannot hold; `what` has these ids. */
export function refuseUnwritable(ids: Iterable<string>, what: string): void {
  for (const id of ids) plain(id, what);
}

function plain(id: string, what = 'The search'): string {
  if (id !== '' && !unwritable.test(id)) return id;
  const [start, more] = [JSON.stringify(id.slice(0, 80)), id.length > 80 ? ' and so on' : ''];
  throw new CairnError('bad_row', `${what} has the image id ${start}${more}, which a submission cannot have`, {
    details: { remedy: 'Change it in the metadata of the feature set: ids have no spaces, commas, quotes or control characters.' },
  });
}
