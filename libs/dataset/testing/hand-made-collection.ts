import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A collection's text files by path, as a test writes them down; lines are joined by LF. */
export type HandMadeFiles = Record<string, string | Buffer | readonly string[]>;

const wiki = 'http://commons.wikimedia.org/wiki/Category:';

/** A folder for one test, removed at its end by `await using`. */
export async function testFolder(): Promise<{ path: string; [Symbol.asyncDispose]: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'cairn-dataset-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export async function writeFiles(root: string, files: HandMadeFiles): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), typeof text === 'string' || Buffer.isBuffer(text) ? text : `${text.join('\n')}\n`);
  }
}

/**
 * A collection small enough to know by heart. Train landmarks: 70 (Alpha) and 30 (Beta, Town) are clean, in this order; 50
 * (Gamma), 20 (Delta) and 21 (Delta again) are not. Index landmarks: 1 Alpha, 2 Beta, 3 Delta, 4 Epsilon (unknown to train).
 */
export const handMade = {
  'train_clean.csv': ['landmark_id,images', '70,a1aaaa a2aaaa', '30,b1bbbb b2bbbb'],
  'train.csv': [
    'id,url,landmark_id',
    'g1gggg,http://x/1,50',
    'b1bbbb,http://x/2,30',
    'a3aaaa,http://x/3,70',
    'a1aaaa,http://x/4,70',
    'b2bbbb,http://x/5,70',
    'd1dddd,http://x/6,20',
    'g2gggg,http://x/7,50',
    'a2aaaa,http://x/8,70',
    'd2dddd,http://x/9,21',
  ],
  'train_label_to_category.csv': [
    'landmark_id,category',
    `20,${wiki}Delta`,
    `21,${wiki}Delta`,
    `30,"${wiki}Beta,_""Town"""`,
    `50,${wiki}Gamma`,
    `70,${wiki}Alpha`,
  ],
  'index_label_to_category.csv': [
    'landmark_id,category',
    `1,${wiki}Alpha`,
    `2,"${wiki}Beta,_""Town"""`,
    `3,${wiki}Delta`,
    `4,${wiki}Epsilon`,
  ],
  'index_image_to_landmark.csv': ['id,landmark_id', 'i1iiii,2', 'i2iiii,4', 'i3iiii,1', 'i4iiii,3', 'i5iiii,1', 'i6iiii,1'],
  'index.csv': ['id', 'i6iiii', 'i5iiii', 'i4iiii', 'i3iiii', 'i2iiii', 'i1iiii', 'x1xxxx'],
  'retrieval_solution_v2.1.csv': [
    'id,images,Usage',
    'q1qqqq,i3iiii i5iiii,Private',
    'q2qqqq,None,Ignored',
    'q3qqqq,i4iiii i1iiii i3iiii,Public',
    'q4qqqq,i2iiii,Private',
  ],
} as const satisfies HandMadeFiles;

/** Alpha lies in Namibia, Beta in Turkey, Gamma first in France and then in Kosovo, Delta in OTHER. */
export const handMadeCountries = {
  'country_codes.json': '["FR", "NA", "TR", "XK", "OTHER"]',
  'FR.json': '[{"name": "Gamma"}]',
  'NA.json': '[{"name": "Alpha", "id": 70}]',
  'TR.json': '[{"name": "Beta,_\\"\\"Town\\"\\""}]',
  'XK.json': '[{"name": "Gamma"}]',
  'OTHER.json': '[{"name": "Delta"}]',
  'continent_codes.csv': [
    'Continent_Name,Continent_Code,Country_Name,Two_Letter_Country_Code,Three_Letter_Country_Code,Country_Number',
    'Europe,EU,"France, French Republic",FR,FRA,250',
    'Africa,AF,"Namibia, Republic of",NA,NAM,516',
    'Europe,EU,"Turkey, Republic of",TR,TUR,792',
    'Asia,AS,"Turkey, Republic of",TR,TUR,792',
  ],
} as const satisfies HandMadeFiles;
