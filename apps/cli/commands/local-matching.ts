import { resolve } from 'node:path';
import { CairnError, defaultLocalMatching, type LocalMatchingSettings } from '@cairn/contract';
import type { LocalMatching, MatchedImages, MatchingSummary } from '@cairn/retrieval';
import type { Command } from 'commander';
import type { Session } from '../cli.ts';
import { formatCount, plural } from '../output/units.ts';
import { numberUpTo, share, wholeNumber } from './options.ts';

export type LocalMatchingOptions = {
  localMatching?: string;
  queryImages?: string;
  indexImages?: string;
  matchingCache?: string;
  localImages: number;
  localWeight: number;
  maxInliers: number;
  localSide: number;
  localKeypoints: number;
  localRatio: number;
  localMinScore: number;
  ransacPixels: number;
  ransacConfidence: number;
  ransacIterations: number;
};

/** The options of `cairn search` for LOCAL_MATCHING. */
export function addLocalMatching(command: Command): void {
  const { images, weight, mostInliers, longSide, keypoints, ratio, minScore, ransacPixels, confidence, iterations } = defaultLocalMatching;
  command
    .option(
      '--local-matching <matcher>',
      'finally, reorders the first images by the points that they share with the query: sift, or an ONNX matcher by its path',
    )
    .option('--query-images <folder>', 'with it: the images of the queries, as a/b/c/ID.jpg')
    .option('--index-images <folder>', 'with it: the images of the index, as a/b/c/ID.jpg')
    .option('--matching-cache <folder>', 'keeps the inliers of pairs, which a later search takes from there')
    .option('--local-images <count>', 'the first images that are reordered', wholeNumber(1, 1000), images)
    .option('--local-weight <number>', 'what the most inliers add to a similarity', numberUpTo(1000), weight)
    .option('--max-inliers <count>', 'more inliers count as this many', wholeNumber(1, 1_000_000), mostInliers)
    .option('--local-side <pixels>', 'the longer side to which images are resized', wholeNumber(64, 4096), longSide)
    .option('--local-keypoints <count>', 'the most keypoints of SIFT in an image', wholeNumber(8, 100_000), keypoints)
    .option('--local-ratio <share>', 'the most distance of a match of SIFT, as a share of the next', share, ratio)
    .option('--local-min-score <share>', 'the least score of a match of an ONNX matcher', share, minScore)
    .option('--ransac-pixels <number>', 'how far an inlier may be from where the homography puts it', numberUpTo(1000), ransacPixels)
    .option('--ransac-confidence <share>', 'the confidence at which the search for a homography ends', numberUpTo(0.999999), confidence)
    .option('--ransac-iterations <count>', 'the most samples of that search', wholeNumber(1, 1_000_000), iterations);
}

/**
 * What the options ask to be matched, or null. Throws `invalid_request` without the folders of the images, or with one of them alone;
 * `missing_file` for a folder that does not exist.
 */
export async function localMatchingOf({ cli }: Session, options: LocalMatchingOptions): Promise<LocalMatching | null> {
  const { localMatching: matcher, queryImages, indexImages, matchingCache } = options;
  if (matcher === undefined) {
    const unused = Object.entries({ '--query-images': queryImages, '--index-images': indexImages, '--matching-cache': matchingCache });
    const [given] = unused.find(([, value]) => value !== undefined) ?? [];
    if (given === undefined) return null;
    throw new CairnError('invalid_request', `${given} is for --local-matching, which is not given`, {
      details: { remedy: 'Add --local-matching sift, or the path of an ONNX matcher.' },
    });
  }
  if (queryImages === undefined || indexImages === undefined) {
    throw new CairnError('invalid_request', '--local-matching needs --query-images and --index-images', {
      details: { remedy: 'Pass the folders of the images from which the features were extracted, such as images/test and images/index.' },
    });
  }
  const { requireFolder } = await import('@cairn/dataset');
  const folders = { queries: resolve(queryImages), index: resolve(indexImages) };
  await requireFolder('The folder of the images of the queries', folders.queries);
  await requireFolder('The folder of the images of the index', folders.index);
  return {
    settings: settingsOf(options),
    matcherPath: matcher === 'sift' ? null : resolve(matcher),
    queries: await imagesIn(folders.queries),
    index: await imagesIn(folders.index),
    cache: matchingCache === undefined ? null : resolve(matchingCache),
    python: cli.env.CAIRN_PYTHON ?? 'python3',
    env: cli.env,
  };
}

function settingsOf(options: LocalMatchingOptions): LocalMatchingSettings {
  const { ransacPixels, ransacConfidence: confidence, ransacIterations: iterations } = options;
  return {
    images: options.localImages,
    weight: options.localWeight,
    mostInliers: options.maxInliers,
    longSide: options.localSide,
    keypoints: options.localKeypoints,
    ratio: options.localRatio,
    minScore: options.localMinScore,
    ransacPixels,
    confidence,
    iterations,
  };
}

async function imagesIn(root: string): Promise<MatchedImages> {
  const { imageIdPattern, memberPath } = await import('@cairn/dataset');
  const { placeAt } = await import('@cairn/retrieval');
  return {
    root,
    async placesOf(ids) {
      const strange = [...ids].find((id) => !imageIdPattern.test(id));
      if (strange === undefined) return new Map([...ids].map((id) => [id, placeAt(memberPath(id))]));
      throw new CairnError('bad_row', `${JSON.stringify(strange)} is not an image id, so its file in ${root} is not known`, {
        details: { remedy: 'Local matching needs ids of at least three letters, digits, dashes and underscores.' },
      });
    },
  };
}

/** How many images the result names; manifest.json has them all. */
const maxNamed = 5;

/** What a user reads of a matching. */
export function matchingLines(matched: MatchingSummary | null): string[] {
  if (matched === null) return [];
  const { matcher, pairs, cachedPairs, unreadableImages, unreadable } = matched;
  const lines = [
    `${plural(pairs, 'pair')} of images matched by ${matcher.kind} (${matcher.version}), ${formatCount(cachedPairs)} of them kept from before`,
  ];
  if (unreadableImages === 0) return lines;
  const named = unreadable.slice(0, maxNamed).map(({ path, reason }) => `${path} (${reason})`);
  const more = unreadableImages > maxNamed ? [`${formatCount(unreadableImages - maxNamed)} more in manifest.json`] : [];
  return [...lines, `Without inliers, because they cannot be read: ${[...named, ...more].join(', ')}`];
}
