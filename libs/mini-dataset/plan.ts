import { type ImageSplit, imageSplits } from '@cairn/dataset';
import { sha256 } from '@cairn/runtime';
import { type TwinDifference, twinDifferences } from './landmark.ts';
import { categoryOf, countryOf } from './places.ts';
import type { Random } from './random.ts';
import { randomOf } from './random.ts';

/** The size of a mini dataset. Ranges are images per landmark, both ends included. */
export type MiniCounts = {
  cleanLandmarks: number;
  fullOnlyLandmarks: number;
  indexOnlyLandmarks: number;
  /** Near twins among the clean landmarks: each has one difference from the previous landmark. */
  twins: number;
  cleanImages: readonly [number, number];
  /** Images of clean landmarks that cleaning removed: correct but hard ones, and wrong labels. */
  extraImages: readonly [number, number];
  fullOnlyImages: readonly [number, number];
  indexImages: readonly [number, number];
  /** Index images without a landmark. */
  strays: number;
  scoredQueries: number;
  ignoredQueries: number;
};

export const miniCounts: MiniCounts = {
  cleanLandmarks: 36,
  fullOnlyLandmarks: 18,
  indexOnlyLandmarks: 6,
  twins: 4,
  cleanImages: [6, 9],
  extraImages: [18, 24],
  fullOnlyImages: [12, 18],
  indexImages: [6, 11],
  strays: 210,
  scoredQueries: 180,
  ignoredQueries: 20,
};

/** All features of the mini dataset (wrong labels, twins, strays, broken files) in a few dozen images. */
export const tinyCounts: MiniCounts = {
  cleanLandmarks: 8,
  fullOnlyLandmarks: 2,
  indexOnlyLandmarks: 2,
  twins: 1,
  cleanImages: [5, 6],
  extraImages: [1, 2],
  fullOnlyImages: [2, 3],
  indexImages: [3, 4],
  strays: 6,
  scoredQueries: 10,
  ignoredQueries: 2,
};

/** The fault of an image file. */
export type ImageFault = 'truncated' | 'empty' | 'notAnImage';

/** One image to draw: `shows` names the landmark in the picture, regardless of its label; null for a stray. */
export type PlannedImage = { split: ImageSplit; id: string; shows: string | null; hardness: number; fault: ImageFault | null };

export type PlannedLandmark = {
  /** Names what is drawn. Two landmarks of one model are the same place under two categories. */
  model: string;
  twin: TwinDifference | null;
  category: string;
  country: string;
  role: 'clean' | 'fullOnly' | 'indexOnly';
  trainId: number | null;
  indexId: number | null;
};

export type PlannedQuery = { id: string; images: string[]; usage: 'Public' | 'Private' | 'Ignored' };

/** The content of a mini dataset, in the order of its files, before any picture is drawn. */
export type MiniPlan = {
  seed: number;
  landmarks: PlannedLandmark[];
  images: PlannedImage[];
  /** Rows of train.csv. */
  train: { id: string; landmarkId: number }[];
  /** Rows of train_clean.csv. */
  clean: { landmarkId: number; images: string[] }[];
  /** Rows of index_image_to_landmark.csv. */
  indexLabels: { id: string; landmarkId: number }[];
  queries: PlannedQuery[];
};

/** Cleaning keeps easily recognised images: the removed pictures are as hard as the queries. */
const hardness = { clean: [0.1, 0.35], extra: [0.2, 0.65], index: [0.2, 0.55], query: [0.2, 0.55] } as const;
/** The share of wrong labels among the images that cleaning removes. */
const wrongShare = 0.15;

function planLandmarks(counts: MiniCounts, random: Random): PlannedLandmark[] {
  const total = counts.cleanLandmarks + counts.fullOnlyLandmarks + counts.indexOnlyLandmarks;
  const trainIds = distinct(random, total, 203_094);
  const indexIds = distinct(random, total, 101_302);
  const landmarks: PlannedLandmark[] = [];
  const categories = new Set<string>();
  for (let n = 0; n < total; n++) {
    const role = n < counts.cleanLandmarks ? 'clean' : n < counts.cleanLandmarks + counts.fullOnlyLandmarks ? 'fullOnly' : 'indexOnly';
    // Twins are at the first odd positions, after their siblings.
    const twin = n % 2 === 1 && n < counts.twins * 2 ? (twinDifferences[(n >> 1) % twinDifferences.length] ?? null) : null;
    // The first full-only landmark is the first clean one again under another category.
    const alias = n === counts.cleanLandmarks && role === 'fullOnly';
    const model = alias ? 'landmark 0' : `landmark ${twin ? n - 1 : n}`;
    let category = categoryOf(random);
    while (categories.has(category)) category = categoryOf(random);
    categories.add(category);
    // The second and the third full-only landmark share a category: the last one is used.
    if (n === counts.cleanLandmarks + 2 && role === 'fullOnly') category = landmarks.at(-1)?.category ?? category;
    const trainId = role === 'indexOnly' ? null : (trainIds[n] ?? null);
    landmarks.push({ model, twin, category, country: countryOf(n), role, trainId, indexId: indexIds[n] ?? null });
  }
  const winner = landmarks[counts.cleanLandmarks + 2];
  const loser = landmarks[counts.cleanLandmarks + 1];
  if (winner?.role === 'fullOnly' && loser) Object.assign(loser, { indexId: null, model: winner.model, country: winner.country });
  return landmarks;
}

/** `count` different whole numbers below `end`. */
function distinct(random: Random, count: number, end: number): number[] {
  const found = new Set<number>();
  while (found.size < count) found.add(random.integer(0, end - 1));
  return [...found];
}

/** The name of a landmark's picture. */
export function subjectOf(landmark: PlannedLandmark): string {
  return landmark.twin ? `${landmark.model}/${landmark.twin}` : landmark.model;
}

/** Plans the whole dataset of a seed: a pure function of its arguments. */
export function planMiniDataset(seed: number, counts: MiniCounts = miniCounts): MiniPlan {
  const random = randomOf(seed, 'plan of the dataset');
  const landmarks = planLandmarks(counts, random);
  const images: PlannedImage[] = [];
  const draw = (split: ImageSplit, shows: string | null, kind: keyof typeof hardness): string => {
    const id = sha256(`${seed}/${split}/${images.length}`).slice(0, 16);
    const [low, high] = hardness[kind];
    images.push({ split, id, shows, hardness: random.between(low, high), fault: null });
    return id;
  };
  const trained = landmarks.filter((landmark) => landmark.trainId !== null);
  const wrong = (than: PlannedLandmark): string | null => {
    const others = trained.filter((landmark) => landmark.model !== than.model);
    return random.chance(0.35) || others.length === 0 ? null : subjectOf(random.pick(others));
  };
  const train: MiniPlan['train'] = [];
  const clean: MiniPlan['clean'] = [];
  for (const landmark of trained) {
    const landmarkId = landmark.trainId ?? 0;
    if (landmark.role === 'clean') {
      const ids = times(random.integer(...counts.cleanImages), () => draw('train', subjectOf(landmark), 'clean'));
      clean.push({ landmarkId, images: ids });
      train.push(...ids.map((id) => ({ id, landmarkId })));
    }
    const moreImages = landmark.role === 'clean' ? counts.extraImages : counts.fullOnlyImages;
    const more = random.integer(...moreImages);
    for (let i = 0; i < more; i++) {
      const shows = random.chance(wrongShare) ? wrong(landmark) : subjectOf(landmark);
      train.push({ id: draw('train', shows, 'extra'), landmarkId });
    }
  }
  const indexLabels: MiniPlan['indexLabels'] = [];
  const indexed = landmarks.filter((landmark) => landmark.indexId !== null);
  for (const landmark of indexed) {
    const count = random.integer(...counts.indexImages);
    indexLabels.push(...times(count, () => ({ id: draw('index', subjectOf(landmark), 'index'), landmarkId: landmark.indexId ?? 0 })));
  }
  for (let i = 0; i < counts.strays; i++) draw('index', null, 'index');
  const queries = planQueries(indexed, indexLabels, counts, random, draw);
  breakSome(images, clean, indexLabels);
  return {
    seed,
    landmarks,
    images: images.toSorted((a, b) => imageSplits.indexOf(a.split) - imageSplits.indexOf(b.split) || (a.id < b.id ? -1 : 1)),
    train: random.shuffled(train),
    clean: clean.toSorted((a, b) => a.landmarkId - b.landmarkId),
    indexLabels: random.shuffled(indexLabels),
    queries: random.shuffled(queries),
  };
}

function planQueries(
  indexed: readonly PlannedLandmark[],
  indexLabels: MiniPlan['indexLabels'],
  counts: MiniCounts,
  random: Random,
  draw: (split: ImageSplit, shows: string | null, kind: keyof typeof hardness) => string,
): PlannedQuery[] {
  const subjects = new Map(indexed.map((landmark) => [landmark.indexId, subjectOf(landmark)]));
  // Ground truth is what the pictures show: a place with two categories has the images of both.
  const truth = (subject: string): string[] => indexLabels.filter((row) => subjects.get(row.landmarkId) === subject).map((row) => row.id);
  const order = random.shuffled(indexed);
  const scored = times(counts.scoredQueries, (i): PlannedQuery => {
    const landmark = order[i % order.length];
    if (!landmark) throw new RangeError('a mini dataset with queries needs a landmark in its index');
    const subject = subjectOf(landmark);
    return { id: draw('test', subject, 'query'), images: truth(subject), usage: i % 3 === 0 ? 'Public' : 'Private' };
  });
  const ignored = times(counts.ignoredQueries, (): PlannedQuery => ({ id: draw('test', null, 'query'), images: [], usage: 'Ignored' }));
  return [...scored, ...ignored];
}

/** Six broken files: two among the clean images, one among the other train images, three in the index. */
function breakSome(images: PlannedImage[], clean: MiniPlan['clean'], indexLabels: MiniPlan['indexLabels']): void {
  const byId = new Map(images.map((image) => [image.id, image]));
  const cleanIds = new Set(clean.flatMap((row) => row.images));
  const extras = images.filter((image) => image.split === 'train' && !cleanIds.has(image.id));
  const strays = images.filter((image) => image.split === 'index' && image.shows === null);
  const broken: [PlannedImage | undefined, ImageFault][] = [
    [byId.get(clean[0]?.images[0] ?? ''), 'truncated'],
    [byId.get(clean[1]?.images[0] ?? ''), 'empty'],
    [extras[0], 'notAnImage'],
    [byId.get(indexLabels[0]?.id ?? ''), 'truncated'],
    [strays[0], 'empty'],
    [strays[1], 'notAnImage'],
  ];
  for (const [image, fault] of broken) if (image) image.fault = fault;
}

function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}
