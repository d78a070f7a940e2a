import { z } from 'zod';
import { CairnError } from './errors.ts';
import { result } from './setting-marks.ts';

/** How the similarities of a search are changed before its images are ranked. */
export const rerankModes = ['off', 'before_merge', 'after_merge', 'k_reciprocal'] as const;
export type RerankMode = (typeof rerankModes)[number];

const count = z.number().int().min(1).max(10_000);
const share = z.number().min(0).max(1);

/** How the first images of a ranking are reordered by the points that they have in common with the query (LOCAL_MATCHING). */
export const localMatchingSettings = z.strictObject({
  images: result(z.number().int().min(1).max(1000).default(10), 'The first images of each ranking, which are reordered (SPG_RERANK_NUM).'),
  weight: result(z.number().min(0).max(1000).default(0.15), 'What is added to a similarity for the most inliers (LOCAL_WEIGHT).'),
  mostInliers: result(z.number().int().min(1).max(1_000_000).default(90), 'More inliers count as this many (MAX_INLIERS).'),
  longSide: result(z.number().int().min(64).max(4096).default(800), 'The longer side in pixels to which images are resized.'),
  keypoints: result(z.number().int().min(8).max(100_000).default(1024), 'The most keypoints that SIFT looks for in an image.'),
  ratio: result(z.number().min(0).max(1).default(0.8), 'A match of SIFT has at most this share of the distance to the next nearest.'),
  minScore: result(share.default(0.2), 'The least score of a match of an ONNX matcher.'),
  ransacPixels: result(
    z.number().positive().max(1000).default(4),
    'An inlier is at most this far, in original pixels, from where the homography puts it.',
  ),
  confidence: result(z.number().positive().max(0.999999).default(0.99), 'The confidence at which the search for a homography ends.'),
  iterations: result(z.number().int().min(1).max(1_000_000).default(1000), 'The most samples of that search.'),
});
export type LocalMatchingSettings = z.infer<typeof localMatchingSettings>;

export const defaultLocalMatching: LocalMatchingSettings = localMatchingSettings.parse({});

/** The constants of the reference's rerank under our names. The defaults are those of its final submission, but for the mode. */
export const rerankSettings = z.strictObject({
  mode: result(
    z.enum(rerankModes).default('off'),
    'off: the weighted sum of similarities; before_merge, after_merge: raised by the votes of references, in each model or in the sum; k_reciprocal: by k-reciprocal sets.',
  ),
  boostKReciprocal: result(
    z.boolean().default(false),
    'With after_merge: what is added up and raised are k-reciprocal similarities (KR_FLAG).',
  ),
  votes: result(count.default(3), "References that vote on a query's landmark and country (VOTE_NUM)."),
  alpha: result(z.number().min(0).default(1), 'What all votes for a landmark add to a similarity.'),
  beta: result(z.number().min(0).default(0.1), 'What all votes for a country add to it.'),
  k1: result(count.default(10), 'Neighbours that have to be mutual, without the image itself (K1).'),
  k2: result(count.default(3), 'Images over whose neighbours the mean is taken, with the image itself (K2).'),
  voteNeighbours: result(
    count.default(30),
    'Nearest references of a query, and of each of these, among which the votes are reranked (topk of kr_rerank_fast).',
  ),
  voteLambda: result(
    share.default(0.5),
    "The cosine distance's part of the distance by which votes are found (lambda of kr_rerank_fast); the rest is Jaccard's.",
  ),
  lambda: result(share.default(0.3), 'The same for k_reciprocal (LAMBDA).'),
  whitenTo: result(
    count.nullable().default(null),
    'Components that vectors keep in a whitening, null: all. It needs vectors to learn from, and comes before all that.',
  ),
  expandQueries: result(z.number().int().min(0).max(10_000).default(0), 'Neighbours in the index that are added to each query (alpha-QE).'),
  augmentIndex: result(z.number().int().min(0).max(10_000).default(0), 'Neighbours in the index that are added to each index image (DBA).'),
  expandQueriesAlpha: result(z.number().min(0).default(3), "The power of the cosine by which a query's neighbour is weighed."),
  augmentIndexAlpha: result(z.number().min(0).default(3), "The power of the cosine by which an index image's neighbour is weighed."),
  // Without a mark of its own, null is not in the memo key: it is the same as in recipes of releases without the setting.
  localMatching: localMatchingSettings
    .extend({
      matcher: result(
        z.enum(['sift'], 'in a run the matcher is sift; `cairn search` takes an ONNX matcher by its path').default('sift'),
        'What finds the points that two images share: SIFT.',
      ),
    })
    .nullable()
    .default(null)
    .describe('At last: reorders the first images by the points that they have in common with the query; null: not.'),
});
export type RerankSettings = z.infer<typeof rerankSettings>;

export const defaultRerank: RerankSettings = rerankSettings.parse({});

/** The settings that the votes of a query depend on. */
export const votingConstants = rerankSettings.pick({ votes: true, voteNeighbours: true, voteLambda: true, k1: true, k2: true });
export type VotingConstants = z.infer<typeof votingConstants>;

/** In one order. */
export function votingConstantsOf({ votes, voteNeighbours, voteLambda, k1, k2 }: VotingConstants): VotingConstants {
  return { votes, voteNeighbours, voteLambda, k1, k2 };
}

/** Whether the index and the queries are compared with references. */
export function needsReferences({ mode }: Pick<RerankSettings, 'mode'>): boolean {
  return mode === 'before_merge' || mode === 'after_merge';
}

/**
 * Whether tags and votes that steps found before are those of a search: they are of the vectors as these were extracted, not of whitened or
 * expanded ones.
 */
export function usesFound(
  { augmentIndex, expandQueries }: Pick<RerankSettings, 'augmentIndex' | 'expandQueries'>,
  isWhitened: boolean,
): { tags: boolean; votes: boolean } {
  return { tags: !isWhitened && augmentIndex === 0, votes: !isWhitened && expandQueries === 0 };
}

export function usesKReciprocal({ mode, boostKReciprocal }: RerankSettings): boolean {
  return mode === 'k_reciprocal' || boostKReciprocal;
}

/** Throws `invalid_setting` for more votes than there are references that can win one: the nearest and theirs, if there are enough of them. */
export function checkVotes({ votes, voteNeighbours }: Pick<VotingConstants, 'votes' | 'voteNeighbours'>): void {
  if (votes <= voteNeighbours) return;
  throw new CairnError('invalid_setting', `${votes} votes cannot come from the ${voteNeighbours} nearest references.`, {
    details: { remedy: 'Set at least as many vote neighbours as votes.' },
  });
}

/** Throws `invalid_setting` for settings that contradict each other. */
export function checkRerank(settings: RerankSettings): void {
  const { mode, boostKReciprocal } = settings;
  checkVotes(settings);
  if (boostKReciprocal && mode !== 'after_merge') {
    throw new CairnError('invalid_setting', `K-reciprocal similarities cannot be raised with ${mode}.`, {
      details: { remedy: 'Choose after_merge, or k_reciprocal, which ranks by them as they are.' },
    });
  }
}
