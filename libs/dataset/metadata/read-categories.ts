import { CairnError, type CategoryQuotes } from '@cairn/contract';
import { csvFields } from './csv-fields.ts';
import type { FoundFile } from './find-metadata.ts';
import { badRowError } from './locate-bad-row.ts';
import { decoded, textLines } from './text-lines.ts';

const prefix = 'http://commons.wikimedia.org/wiki/Category:';

/** A landmark's category. */
export type CategoryRow = { landmarkId: string; category: string };

/**
 * Reads train_label_to_category.csv or index_label_to_category.csv line by line. The category is the text after Wikimedia's prefix.
 * As the reference reads it (tools/generate_gld_list.py), a quoted one loses its closing quote only, so its inner quotes stay doubled;
 * with `csv` the line is read as CSV. This text is the join key between train and index.
 *
 * @throws CairnError `missing_column` when there are other columns, `bad_row` with the line of a row that has no category.
 */
export async function* readCategories(found: FoundFile, quotes: CategoryQuotes, signal?: AbortSignal): AsyncGenerator<CategoryRow> {
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
    const { landmarkId, category } = cellsOf[quotes](text);
    if (!/^[0-9A-Za-z_.-]+$/.test(landmarkId)) throw bad(1, 'a landmark id');
    if (category === null || category === '') throw bad(2, `${prefix} and a name`);
    yield { landmarkId, category };
  }
}

type Cells = { landmarkId: string; category: string | null };

const cellsOf: Record<CategoryQuotes, (line: string) => Cells> = {
  reference(line) {
    const comma = line.indexOf(',');
    if (comma === -1) return { landmarkId: line, category: null };
    const landmarkId = line.slice(0, comma);
    const cell = line.slice(comma + 1);
    if (cell.startsWith(`"${prefix}`)) return { landmarkId, category: cell.slice(prefix.length + 1, -1) };
    return { landmarkId, category: cell.startsWith(prefix) ? cell.slice(prefix.length) : null };
  },
  csv(line) {
    const { fields } = csvFields(line);
    const [landmarkId = '', cell = ''] = fields?.length === 2 ? fields : [line.split(',')[0]];
    return { landmarkId, category: cell.startsWith(prefix) ? cell.slice(prefix.length) : null };
  },
};
