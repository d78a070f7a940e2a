import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { continentRows, countryCodes } from './places.ts';
import type { MiniCounts, MiniPlan } from './plan.ts';

/** A file of the collection: its path inside the dataset and its text. */
type TextFile = { path: string; text: string };

const categoryPrefix = 'http://commons.wikimedia.org/wiki/Category:';

/** One CSV field, quoted only if necessary, as in the public files. */
function field(value: string | number): string {
  const text = String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(header: string, rows: readonly (readonly (string | number)[])[]): string {
  return `${[header, ...rows.map((row) => row.map(field).join(','))].join('\n')}\n`;
}

/** The CSV files of GLDv2's metadata and ground truth. */
export function metadataFiles(plan: MiniPlan): TextFile[] {
  const ids = (split: string): string[][] => plan.images.filter((image) => image.split === split).map((image) => [image.id]);
  const categories = (key: 'trainId' | 'indexId'): (string | number)[][] =>
    plan.landmarks
      .flatMap((landmark) => (landmark[key] === null ? [] : [{ id: landmark[key], category: landmark.category }]))
      .toSorted((a, b) => a.id - b.id)
      .map(({ id, category }) => [id, categoryPrefix + category]);
  const file = (name: string, header: string, rows: (string | number)[][]): TextFile => ({
    path: `metadata/${name}`,
    text: csv(header, rows),
  });
  return [
    file(
      'train.csv',
      'id,url,landmark_id',
      plan.train.map((row) => [row.id, `https://example.org/mini/${plan.seed}/${row.id}.jpg`, row.landmarkId]),
    ),
    file(
      'train_clean.csv',
      'landmark_id,images',
      plan.clean.map((row) => [row.landmarkId, row.images.join(' ')]),
    ),
    file('train_label_to_category.csv', 'landmark_id,category', categories('trainId')),
    file('index_label_to_category.csv', 'landmark_id,category', categories('indexId')),
    file(
      'index_image_to_landmark.csv',
      'id,landmark_id',
      plan.indexLabels.map((row) => [row.id, row.landmarkId]),
    ),
    file('index.csv', 'id', ids('index')),
    file('test.csv', 'id', ids('test')),
    file(
      'retrieval_solution_v2.1.csv',
      'id,images,Usage',
      plan.queries.map((row) => [row.id, row.images.join(' ') || 'None', row.usage]),
    ),
  ];
}

/** The countries of the landmarks: one JSON file per country, their list, and the continents. */
export function countryFiles(plan: MiniPlan): TextFile[] {
  const trained = plan.landmarks.filter((landmark) => landmark.trainId !== null);
  const json = (path: string, value: unknown): TextFile => ({ path: `countries/${path}`, text: `${JSON.stringify(value, null, 1)}\n` });
  const countries = countryCodes.map((code) =>
    json(
      `${code}.json`,
      trained
        .filter((landmark) => landmark.country === code)
        .map((landmark) => ({ id: landmark.trainId, name: escaped(landmark.category) })),
    ),
  );
  const header = 'Continent_Name,Continent_Code,Country_Name,Two_Letter_Country_Code,Three_Letter_Country_Code,Country_Number';
  const rows = continentRows.map((row) => [row.continent, row.continentCode, row.country, row.code, row.code3, row.number]);
  return [json('country_codes.json', countryCodes), ...countries, { path: 'countries/continent_codes.csv', text: csv(header, rows) }];
}

/** A category as the reference compares it: the inner quotes of a quoted CSV field stay doubled. */
function escaped(category: string): string {
  return category.replaceAll('"', '""');
}

/** Raised whenever the same seed gives other bytes. */
export const miniGenerator = 2;
export const miniManifestName = 'dataset.json';

/** dataset.json, the description of a mini dataset. It is written last, so a folder that has it is complete. */
export type MiniManifest = {
  format: 'cairn-mini';
  name: 'mini';
  version: 1;
  generator: number;
  seed: number;
  /** The requested counts. */
  asked: MiniCounts;
  counts: {
    train: number;
    index: number;
    test: number;
    landmarks: number;
    cleanLandmarks: number;
    cleanImages: number;
    scoredQueries: number;
  };
  layout: { images: string; tars: string; metadata: string; countries: string };
  /** All files except dataset.json: their number, their bytes, and the SHA-256 of the lines `sha256  path`, sorted by path. */
  files: number;
  bytes: number;
  digest: string;
};

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isMiniManifest(value: unknown): value is MiniManifest {
  if (!isRecord(value) || value.format !== 'cairn-mini' || value.version !== 1) return false;
  const numbers = ['generator', 'seed', 'files', 'bytes'].every((key) => typeof value[key] === 'number');
  return numbers && typeof value.digest === 'string' && ['asked', 'counts', 'layout'].every((key) => isRecord(value[key]));
}

/** The manifest of the mini dataset in `root`, or null if there is none. */
export async function readMiniManifest(root: string): Promise<MiniManifest | null> {
  try {
    const value: unknown = JSON.parse(await readFile(join(root, miniManifestName), 'utf8'));
    return isMiniManifest(value) ? value : null;
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR'].includes(String(error.code))))
      return null;
    throw error;
  }
}

/** True if all files in the manifest exist with their sizes. Their content is not read. */
export async function isComplete(root: string, manifest: MiniManifest, signal?: AbortSignal): Promise<boolean> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  let files = 0;
  let bytes = 0;
  for (const entry of entries) {
    if (!entry.isFile() || (entry.parentPath === root && entry.name === miniManifestName)) continue;
    signal?.throwIfAborted();
    files += 1;
    bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return files === manifest.files && bytes === manifest.bytes;
}
