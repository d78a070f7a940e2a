import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { seededRandom } from '@cairn/testing';

/** How much the generated metadata has; the counts of GLDv2 are in {@link gldv2Counts}. */
export type MetadataCounts = {
  train: number;
  /** Images that the cleaning kept, a part of `cleanTrain`. */
  cleanImages: number;
  /** Images of train.csv whose landmark is clean. */
  cleanTrain: number;
  landmarks: number;
  cleanLandmarks: number;
  index: number;
  /** Index images whose category is one of train. */
  joinedIndex: number;
  indexLandmarks: number;
  queries: number;
  scoredQueries: number;
};

/**
 * GLDv2 and table 1 of arXiv 2110.04294. The table's list `all` has 4,825,830 rows: train, the joined index images, the 116,448 ignored
 * queries and, as drawn here, a row for each scored one.
 */
export const gldv2Counts: MetadataCounts = {
  train: 4_132_914,
  cleanImages: 1_580_470,
  cleanTrain: 3_223_078,
  landmarks: 203_094,
  cleanLandmarks: 81_313,
  index: 761_757,
  joinedIndex: 575_339,
  indexLandmarks: 101_302,
  queries: 117_577,
  scoredQueries: 1_129,
};

/** The counts of GLDv2 times `scale`. */
export function scaledCounts(scale: number): MetadataCounts {
  const scaled = Object.entries(gldv2Counts).map(([name, count]) => [name, Math.max(2, Math.round(count * scale))]);
  return Object.fromEntries(scaled) as MetadataCounts;
}

const countries = 200;
const continents = ['Asia', 'Europe', 'Africa', 'North America', 'South America', 'Antarctica', 'Oceania'];
const wiki = 'http://commons.wikimedia.org/wiki/Category:';

/** A bijection of 32-bit numbers (Chris Wellons' lowbias32): no two images get the same id. */
function mixed(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');

/** The id of the nth image of a split: 16 hexadecimal digits, as GLDv2's are. */
function idOf(split: 'train' | 'index' | 'test', n: number): string {
  const salt = { train: 0, index: 0x5bd1e995, test: 0x1b873593 }[split];
  return hex(mixed(n)) + hex(mixed(n ^ salt));
}

/** Every tenth category has a comma and is quoted, every hundredth has quotes too, as in the public files. */
function categoryCell(n: number): string {
  if (n % 100 === 0) return `"${wiki}Landmark_""no._${n}"",_Town_${n % 977}"`;
  return n % 10 === 0 ? `"${wiki}Landmark_${n},_Town_${n % 977}"` : `${wiki}Landmark_of_the_place_${n}`;
}

const categoryName = (n: number): string =>
  categoryCell(n)
    .replace(/^"(.*)"$/, '$1')
    .slice(wiki.length);

/** Writes the metadata (`metadata/`) and the countries (`countries/`) of a made collection below `root`. The same seed, the same bytes. */
export async function generateMetadata(root: string, counts: MetadataCounts, seed = 0): Promise<{ metadata: string; countries: string }> {
  const [metadata, places] = [join(root, 'metadata'), join(root, 'countries')];
  await mkdir(metadata, { recursive: true });
  await mkdir(places, { recursive: true });
  const random = seededRandom(seed);
  // Landmark n has the landmark id landmarkId(n); the first are clean.
  const landmarkId = (n: number): number => (n * 7) % 1_000_003;
  const landmarkOf = trainLandmarks(counts, random);

  const isClean = new Uint8Array(counts.train);
  const cleanOf: string[][] = Array.from({ length: counts.cleanLandmarks }, () => []);
  let kept = 0;
  for (let n = 0; n < counts.train && kept < counts.cleanImages; n += 1) {
    const images = cleanOf[landmarkOf[n] ?? 0];
    // Each clean landmark first gets one; then as they come.
    if (images === undefined || (images.length > 0 && counts.cleanImages - kept <= counts.cleanLandmarks)) continue;
    if (images.length > 0 && random() > 0.55) continue;
    images.push(idOf('train', n));
    isClean[n] = 1;
    kept += 1;
  }
  for (let n = 0; n < counts.train && kept < counts.cleanImages; n += 1) {
    const images = cleanOf[landmarkOf[n] ?? 0];
    if (images === undefined || isClean[n]) continue;
    images.push(idOf('train', n));
    kept += 1;
  }
  await write(join(metadata, 'train.csv'), 'id,url,landmark_id', counts.train, (n) => {
    const id = idOf('train', n);
    const file = `https://upload.wikimedia.org/wikipedia/commons/${id[0]}/${id.slice(0, 2)}/A_photograph_of_a_landmark_${hex(n)}.jpg`;
    return `${id},${file},${landmarkId(landmarkOf[n] ?? 0)}`;
  });
  await write(
    join(metadata, 'train_clean.csv'),
    'landmark_id,images',
    cleanOf.length,
    (n) => `${landmarkId(n)},${(cleanOf[n] ?? []).join(' ')}`,
  );
  await write(
    join(metadata, 'train_label_to_category.csv'),
    'landmark_id,category',
    counts.landmarks,
    (n) => `${landmarkId(n)},${categoryCell(n)}`,
  );

  // Index landmarks have ids of their own; the first half is of categories of train, the rest of none.
  const shared = Math.min(Math.ceil(counts.indexLandmarks / 2), counts.landmarks);
  const indexCategory = (n: number): string => categoryCell(n < shared ? (n * 3) % counts.landmarks : counts.landmarks + n);
  await write(
    join(metadata, 'index_label_to_category.csv'),
    'landmark_id,category',
    counts.indexLandmarks,
    (n) => `${n},${indexCategory(n)}`,
  );
  const joinsAt = shuffled(counts.index, random);
  const indexLandmark = (n: number): number => {
    const place = joinsAt[n] ?? 0;
    return place < counts.joinedIndex ? place % shared : shared + (place % Math.max(1, counts.indexLandmarks - shared));
  };
  await write(
    join(metadata, 'index_image_to_landmark.csv'),
    'id,landmark_id',
    counts.index,
    (n) => `${idOf('index', n)},${indexLandmark(n)}`,
  );
  await write(join(metadata, 'index.csv'), 'id', counts.index, (n) => idOf('index', n));
  await write(join(metadata, 'test.csv'), 'id', counts.queries, (n) => idOf('test', n));

  const imagesOf: number[][] = Array.from({ length: counts.scoredQueries }, () => []);
  // Query q's images show index landmark q, which train knows: one label each.
  for (let n = 0; n < counts.index; n += 1) imagesOf[indexLandmark(n)]?.push(n);
  const every = Math.floor(counts.queries / counts.scoredQueries);
  await write(join(metadata, 'retrieval_solution_v2.1.csv'), 'id,images,Usage', counts.queries, (n) => {
    const images = n % every === 0 ? imagesOf[n / every] : undefined;
    if (images === undefined || images.length === 0) return `${idOf('test', n)},None,Ignored`;
    return `${idOf('test', n)},${images.map((image) => idOf('index', image)).join(' ')},${n % 3 === 0 ? 'Public' : 'Private'}`;
  });
  await writeCountries(places, counts.landmarks);
  return { metadata, countries: places };
}

/** The landmark of each row of train.csv: every landmark has a row, a few have thousands. */
function trainLandmarks(counts: MetadataCounts, random: () => number): Int32Array {
  const landmarkOf = new Int32Array(counts.train);
  const fill = (from: number, to: number, first: number, landmarks: number): void => {
    for (let n = from; n < to; n += 1) {
      const nth = n - from;
      landmarkOf[n] = first + (nth < landmarks ? nth : Math.floor(landmarks * random() ** 3));
    }
  };
  fill(0, counts.cleanTrain, 0, counts.cleanLandmarks);
  fill(counts.cleanTrain, counts.train, counts.cleanLandmarks, counts.landmarks - counts.cleanLandmarks);
  for (let n = counts.train - 1; n > 0; n -= 1) {
    const other = Math.floor(random() * (n + 1));
    [landmarkOf[n], landmarkOf[other]] = [landmarkOf[other] ?? 0, landmarkOf[n] ?? 0];
  }
  return landmarkOf;
}

function shuffled(length: number, random: () => number): Int32Array {
  const order = Int32Array.from({ length }, (_, n) => n);
  for (let n = length - 1; n > 0; n -= 1) {
    const other = Math.floor(random() * (n + 1));
    [order[n], order[other]] = [order[other] ?? 0, order[n] ?? 0];
  }
  return order;
}

async function writeCountries(folder: string, landmarks: number): Promise<void> {
  const letter = (n: number): string => String.fromCharCode(65 + n);
  const codes = [...Array.from({ length: countries }, (_, n) => letter(Math.floor(n / 26)) + letter(n % 26)), 'OTHER'];
  const rows = codes.slice(0, -1).map((code, n) => `${continents[n % continents.length]},??,"Land of ${code}",${code},${code}X,${n}`);
  const header = 'Continent_Name,Continent_Code,Country_Name,Two_Letter_Country_Code,Three_Letter_Country_Code,Country_Number';
  await writeFile(join(folder, 'continent_codes.csv'), `${[header, ...rows].join('\n')}\n`);
  await writeFile(join(folder, 'country_codes.json'), JSON.stringify(codes));
  const namesOf = new Map<string, { name: string }[]>(codes.map((code) => [code, []]));
  for (let n = 0; n < landmarks; n += 1) namesOf.get(codes[n % codes.length] ?? '')?.push({ name: categoryName(n) });
  for (const [code, names] of namesOf) await writeFile(join(folder, `${code}.json`), JSON.stringify(names));
}

const linesAtATime = 10_000;

async function write(path: string, header: string, rows: number, row: (n: number) => string): Promise<void> {
  function* pieces(): Generator<string> {
    let lines = [header];
    for (let n = 0; n < rows; n += 1) {
      lines.push(row(n));
      if (lines.length < linesAtATime) continue;
      yield `${lines.join('\n')}\n`;
      lines = [];
    }
    if (lines.length > 0) yield `${lines.join('\n')}\n`;
  }
  await pipeline(Readable.from(pieces()), createWriteStream(path));
}
