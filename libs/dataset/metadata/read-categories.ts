import { CairnError } from '@cairn/contract';
import type { FoundFile } from './find-metadata.ts';
import { badRowError } from './locate-bad-row.ts';
import { decoded, textLines } from './text-lines.ts';

const prefix = 'http://commons.wikimedia.org/wiki/Category:';

/** A landmark's category; `line` is its 1-based line in the file. */
export type CategoryRow = { line: number; landmarkId: string; category: string };

/**
 * Reads train_label_to_category.csv or index_label_to_category.csv the way the reference does: line by line, not as CSV. The
 * category is the text after Wikimedia's prefix; a quoted one loses its closing quote only, so its inner quotes stay doubled.
 * This text is the join key between train and index.
 *
 * @throws CairnError `missing_column` when there are other columns, `bad_row` with the line of a row that has no category.
 */
export async function* readCategories(found: FoundFile, signal?: AbortSignal): AsyncGenerator<CategoryRow> {
  const { file, path, header } = found;
  if (header.join(',') !== 'landmark_id,category') {
    const message = `${path} is read line by line: expected exactly the columns landmark_id, category, found ${header.join(', ')}`;
    throw new CairnError('missing_column', message, {
      details: { file: file.name, path, expected: ['landmark_id', 'category'], found: header },
    });
  }
  for await (const line of textLines(path, signal)) {
    const text = decoded(line)?.trim();
    if (line.number === 1 || text === '') continue;
    const bad = (columnNumber: 1 | 2, expected: string): CairnError => {
      const column = header[columnNumber - 1] ?? '';
      return badRowError({
        file: file.name,
        path,
        line: line.number,
        column,
        columnNumber,
        expected,
        found: text ?? line.bytes.toString('latin1'),
      });
    };
    if (text === undefined) throw bad(1, 'UTF-8 text');
    const comma = text.indexOf(',');
    const landmarkId = comma === -1 ? text : text.slice(0, comma);
    if (!/^[0-9A-Za-z_.-]+$/.test(landmarkId)) throw bad(1, 'a landmark id');
    const cell = text.slice(comma + 1);
    const isQuoted = cell.startsWith(`"${prefix}`);
    const category = isQuoted ? cell.slice(prefix.length + 1, -1) : cell.slice(prefix.length);
    if (comma === -1 || !(isQuoted || cell.startsWith(prefix)) || category === '') throw bad(2, `${prefix} and a name`);
    yield { line: line.number, landmarkId, category };
  }
}
