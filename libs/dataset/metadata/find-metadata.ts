import type { ListName } from '@cairn/contract';
import { CairnError } from '@cairn/contract';
import { createFileGate, type FileGate } from '../file-gate.ts';
import { below } from '../folders.ts';
import type { MetadataFile, MetadataFileKey } from './files.ts';
import { filesNeeded, labellingFiles, metadataFiles, searchLists } from './files.ts';
import { csvFields, firstLine, otherThanText } from './text-lines.ts';

/** A metadata file, plain or gzip. */
export type FoundFile = { key: MetadataFileKey; file: MetadataFile; path: string };

/** A metadata file, read from a copy (plain, without CRLF), with the columns of its header. `path` is the original, for messages. */
export type TakenFile = FoundFile & { copy: string; header: string[] };

/**
 * Finds the CSV files that the lists need, in a folder, flat as downloaded or split into train/, index/ and test/ (flat first), plain or
 * with the suffix .gz (plain first). For `query`, `index` and `index_expand` the labelling files are used too if all of them exist, and the
 * existing files of `also`.
 *
 * @throws CairnError `missing_file` naming the list that needs it.
 */
export async function findMetadata(
  root: string,
  wanted: { lists: readonly ListName[]; withCountries: boolean; also?: readonly MetadataFileKey[] },
  gate: FileGate,
): Promise<Map<MetadataFileKey, FoundFile>> {
  const { lists, withCountries, also = [] } = wanted;
  const found = new Map<MetadataFileKey, FoundFile>();
  for (const [key, users] of filesNeeded(lists, withCountries)) {
    const path = await pathOf(root, metadataFiles[key], gate);
    if (path === null) throw missingFile(root, metadataFiles[key], users);
    found.set(key, foundFile(key, path));
  }
  if (lists.some((list) => searchLists.includes(list))) {
    const rest = labellingFiles.filter((key) => !found.has(key));
    const paths = await Promise.all(rest.map((key) => pathOf(root, metadataFiles[key], gate)));
    if (paths.every((path) => path !== null)) {
      for (const [i, key] of rest.entries()) found.set(key, foundFile(key, paths[i] ?? ''));
    }
  }
  for (const key of also) {
    const path = found.has(key) ? null : await pathOf(root, metadataFiles[key], gate);
    if (path !== null) found.set(key, foundFile(key, path));
  }
  return found;
}

async function pathOf(root: string, file: MetadataFile, gate: FileGate): Promise<string | null> {
  for (const path of [below(root, file.name), below(root, file.part, file.name)]) {
    for (const candidate of [path, `${path}.gz`]) if (await gate.isFile(candidate)) return candidate;
  }
  return null;
}

/** Whether the folder has a metadata file. */
export async function hasMetadata(root: string, key: MetadataFileKey, gate?: FileGate): Promise<boolean> {
  return (await pathOf(root, metadataFiles[key], gate ?? (await createFileGate(null)))) !== null;
}

function missingFile(root: string, file: MetadataFile, lists: readonly ListName[]): CairnError {
  const needs = lists.length === 1 ? `the list ${lists[0]} needs it` : `the lists ${lists.join(', ')} need it`;
  return new CairnError(
    'missing_file',
    `${file.name} is neither in ${root} nor in ${below(root, file.part)}; ${needs}: put it there, plain or as .gz`,
    {
      details: { file: file.name, folder: root, lists },
    },
  );
}

const mostColumns = 1000;

function foundFile(key: MetadataFileKey, path: string): FoundFile {
  return { key, file: metadataFiles[key], path };
}

/**
 * The columns of a file's first line. Errors only show expected columns: a link could lead to another user's file.
 *
 * @throws CairnError `missing_column` naming the columns expected.
 */
export async function readHeader({ file, path }: FoundFile, copy: string, signal?: AbortSignal): Promise<string[]> {
  const header = csvFields(await firstLine(copy, signal)).fields ?? [];
  const expected = file.columns.map((column) => column.name);
  if (header.length > mostColumns) {
    throw new CairnError('missing_column', `${path} has more than ${mostColumns} columns: expected ${expected.join(', ')}`, {
      details: { file: file.name, path, expected, columns: header.length },
    });
  }
  const missing = expected.filter((name) => !header.includes(name));
  const details = { file: file.name, path, expected };
  if (missing.length > 0) {
    const other = await otherThanText(copy);
    const lacks = `lacks the column ${missing.join(', ')} in its first line`;
    const message = `${path} ${other === null ? lacks : `is ${other}`}: expected ${expected.join(', ')}, separated by commas, in UTF-8`;
    throw new CairnError('missing_column', message, { details: { ...details, missing } });
  }
  const repeated = expected.filter((name) => header.indexOf(name) !== header.lastIndexOf(name));
  if (repeated.length > 0)
    throw new CairnError('missing_column', `${path} has duplicate columns: ${repeated.join(', ')}`, { details: { ...details, repeated } });
  return header;
}
