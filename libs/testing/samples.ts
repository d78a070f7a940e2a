const category = 'http://commons.wikimedia.org/wiki/Category:Alpha';

/** The files of a collection of four images in GLDv2's layout, by path; the image files have a digest but cannot be decoded. */
export const smallCollection: Readonly<Record<string, string>> = {
  'train.csv': 'id,url,landmark_id\naaa1,http://x/1,7\naaa2,http://x/2,7\n',
  'train_clean.csv': 'landmark_id,images\n7,aaa1 aaa2\n',
  'train_label_to_category.csv': `landmark_id,category\n7,${category}\n`,
  'index_label_to_category.csv': `landmark_id,category\n1,${category}\n`,
  'index_image_to_landmark.csv': 'id,landmark_id\niii1,1\n',
  'index.csv': 'id\niii1\n',
  'retrieval_solution_v2.1.csv': 'id,images,Usage\nqqq1,iii1,Public\n',
  'train/a/a/a/aaa1.jpg': 'one',
  'train/a/a/a/aaa2.jpg': 'two',
  'index/i/i/i/iii1.jpg': 'three',
  'test/q/q/q/qqq1.jpg': 'four',
};

/** Numbers in [0, 1), the same for the same seed: Tommy Ettinger's mulberry32, 32 bits of state, enough for drawing samples and pixels. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
