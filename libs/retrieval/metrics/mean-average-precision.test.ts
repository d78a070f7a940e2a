import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evalCbir, type GroundTruth, meanAveragePrecision, type Usage } from './mean-average-precision.ts';

function truth(...entries: [queryId: string, usage: Usage, imageIds: string][]): GroundTruth {
  return new Map(
    entries.map(([queryId, usage, imageIds]) => [queryId, { usage, imageIds: imageIds.split(' ').filter((id) => id !== '') }]),
  );
}

/** The mAP of one query whose ground truth is `relevant`. */
function averagePrecision(relevant: string, predicted: string, atK?: number): number | null {
  return meanAveragePrecision([['q', predicted.split(' ')]], truth(['q', 'Private', relevant]), atK).private;
}

describe('the average precision of a query, by hand', () => {
  test.each([
    ['all found first', 'a b', 'a b c', 1],
    ['found at 2 and 3', 'a b', 'x a b', (1 / 2 + 2 / 3) / 2],
    ['one of three, at 1', 'a b c', 'a x y', 1 / 3],
    ['none', 'a', 'x y z', 0],
    ['no predictions', 'a', '', 0],
    ['a repeated hit scores nothing yet takes its rank', 'a b', 'a a b', (1 + 2 / 3) / 2],
    ['a repeated miss takes its rank', 'a', 'x x a', 1 / 3],
  ])('%s', (_, relevant, predicted, expected) => {
    expect(averagePrecision(relevant, predicted)).toBeCloseTo(expected, 12);
  });

  test('only the first k predictions count, and at most k ground truths are asked for', () => {
    expect(averagePrecision('a b c', 'x a b c', 2)).toBeCloseTo(1 / 2 / 2, 12);
    const many = Array.from({ length: 150 }, (_, index) => `i${index}`).join(' ');
    expect(averagePrecision(many, many)).toBeCloseTo(1, 12);
    expect(averagePrecision('a', `${'x '.repeat(100)}a`)).toBe(0);
  });
});

test('Public and Private are scored apart and together; missing queries score 0', () => {
  const groundTruth = truth(['p1', 'Public', 'a'], ['p2', 'Public', 'b'], ['r1', 'Private', 'c'], ['i1', 'Ignored', '']);
  const scores = meanAveragePrecision(
    [
      ['p1', ['a']],
      ['r1', ['x', 'c']],
    ],
    groundTruth,
  );
  expect(scores).toEqual({ public: 1 / 2, private: 1 / 2, all: 1.5 / 3 });
});

test('predictions for ignored queries are skipped', () => {
  const groundTruth = truth(['p', 'Public', 'a'], ['i', 'Ignored', '']);
  expect(
    meanAveragePrecision(
      [
        ['p', ['a']],
        ['i', ['x']],
      ],
      groundTruth,
    ),
  ).toEqual({ public: 1, private: null, all: 1 });
});

test('without scored queries there is no mean', () => {
  expect(meanAveragePrecision([], truth(['i', 'Ignored', '']))).toEqual({ public: null, private: null, all: null });
});

test('an unknown query, a repeated one and one without ground truth are errors', () => {
  const groundTruth = truth(['q', 'Public', 'a']);
  expect(() => meanAveragePrecision([['x', ['a']]], groundTruth)).toThrow('The query x is predicted, but is not in the list of queries.');
  expect(() =>
    meanAveragePrecision(
      [
        ['q', ['a']],
        ['q', ['b']],
      ],
      groundTruth,
    ),
  ).toThrow('The query q is predicted twice.');
  expect(() => meanAveragePrecision([], truth(['q', 'Public', '']))).toThrow('The query q is Public, but has no ground truth.');
});

/** MeanAveragePrecision of tensorflow/models' delf, line by line, over one usage. */
function official(
  predictions: ReadonlyMap<string, readonly string[]>,
  solution: ReadonlyMap<string, readonly string[]>,
  max: number,
): number {
  let meanAp = 0;
  for (const [key, prediction] of predictions) {
    const relevant = solution.get(key) ?? [];
    let ap = 0;
    const alreadyPredicted = new Set<string>();
    const expectedRetrieved = Math.min(relevant.length, max);
    let correct = 0;
    for (let i = 0; i < Math.min(prediction.length, max); i++) {
      const image = prediction[i] as string;
      if (!alreadyPredicted.has(image)) {
        if (relevant.includes(image)) {
          correct += 1;
          ap += correct / (i + 1);
        }
        alreadyPredicted.add(image);
      }
    }
    meanAp += ap / expectedRetrieved;
  }
  return meanAp / solution.size;
}

test('it agrees with the official implementation', () => {
  const image = fc.constantFrom(...'abcdefghij');
  const query = fc.record({
    relevant: fc.uniqueArray(image, { minLength: 1 }),
    predicted: fc.option(fc.array(image, { maxLength: 15 })),
    usage: fc.constantFrom<Usage>('Public', 'Private', 'Ignored'),
  });
  fc.assert(
    fc.property(fc.array(query, { maxLength: 8 }), fc.integer({ min: 1, max: 12 }), (queries, atK) => {
      const entries = queries.map(({ relevant, usage }, index) => [`q${index}`, { usage, imageIds: relevant }] as const);
      const predicted = queries.flatMap(({ predicted: images }, index) => (images === null ? [] : [[`q${index}`, images] as const]));
      const ours = meanAveragePrecision(predicted, new Map(entries), atK);
      for (const usage of ['Public', 'Private'] as const) {
        const solution = new Map(entries.filter(([, entry]) => entry.usage === usage).map(([id, entry]) => [id, entry.imageIds]));
        const predictions = new Map(predicted.filter(([id]) => solution.has(id)));
        const score = usage === 'Public' ? ours.public : ours.private;
        if (solution.size === 0) expect(score).toBeNull();
        else expect(score).toBeCloseTo(official(predictions, solution, atK), 12);
      }
    }),
  );
});

function cbirTruth(...entries: [queryId: string, usage: Usage, imageIds: string][]): GroundTruth {
  return new Map(
    entries.map(([queryId, usage, imageIds]) => [queryId, { usage, imageIds: imageIds.split(' ').filter((id) => id !== '') }]),
  );
}

function metricsOf(relevant: string, predicted: string, atK?: number) {
  return evalCbir([['q', predicted.split(' ')]], cbirTruth(['q', 'Public', relevant]), atK);
}

describe('the average precision of a query, by hand', () => {
  test.each([
    ['all found first', 'a b', 'a b x', 1],
    ['found at 2 and 3', 'a b', 'x a b', (1 / 2 + 2 / 3) / 2],
    ['one of three', 'a b c', 'a x y', 1 / 3],
    ['the query itself is dropped, and the later ones move up', 'a q', 'q a x', 1],
    ['a repeated image counts once, at its last rank', 'a b', 'a x a b', (1 / 2 + 2 / 3) / 2],
    ['no predictions', 'a', '', 0],
  ])('%s', (_, relevant, predicted, expected) => {
    expect(metricsOf(relevant, predicted).meanAveragePrecision).toBeCloseTo(expected, 12);
  });

  test('it is divided by all ground truths, also by more than can be found', () => {
    const many = Array.from({ length: 150 }, (_, index) => `i${index}`).join(' ');
    expect(metricsOf(many, many).meanAveragePrecision).toBeCloseTo(100 / 150, 12);
    expect(metricsOf('a b c d', 'a b c d', 2).meanAveragePrecision).toBeCloseTo(2 / 4, 12);
  });
});

test('CMC, precision and recall at 1, 5, 10, 20 and 100, by hand', () => {
  // Hits at 2, 6 and 7 of four ground truths.
  const { cmc, precision, precisionReference, recall } = metricsOf('a b c d', 'x a x1 x2 x3 b c');
  expect(cmc).toEqual({ 1: 0, 5: 1, 10: 1, 20: 1, 100: 1 });
  expect(precision).toEqual({ 1: 0, 5: 1 / 5, 10: 3 / 10, 20: 3 / 20, 100: 3 / 100 });
  expect(precisionReference).toEqual({ 1: 0, 5: 1 / 5, 10: 0, 20: 0, 100: 0 });
  expect(recall).toEqual({ 1: 0, 5: 1 / 4, 10: 3 / 4, 20: 3 / 4, 100: 3 / 4 });
});

test("the reference's precision stops at the last ground cbirTruth at 5, 10 and 20, the usual one never", () => {
  // Both ground truths are found by rank 3; 12 images are predicted.
  const { precision, precisionReference } = metricsOf('a b', 'a x b c d e f g h i j k');
  expect(precision).toEqual({ 1: 1, 5: 2 / 5, 10: 2 / 10, 20: 2 / 20, 100: 2 / 100 });
  expect(precisionReference).toEqual({ 1: 1, 5: 2 / 3, 10: 2 / 3, 20: 2 / 3, 100: 0 });
});

test('the mean is over Public and Private queries with a ground cbirTruth; what is not predicted scores 0', () => {
  const groundTruth = cbirTruth(['p', 'Public', 'a'], ['r', 'Private', 'b'], ['i', 'Ignored', ''], ['self', 'Public', 'self']);
  const metrics = evalCbir(
    [
      ['p', ['a']],
      ['i', ['x']],
      ['self', ['self']],
    ],
    groundTruth,
  );
  expect(metrics).toMatchObject({ queries: 2, meanAveragePrecision: 1 / 2, cmc: { 1: 1 / 2 }, recall: { 100: 1 / 2 } });
});

test('without scored queries there is no mean', () => {
  const nothing = { queries: 0, meanAveragePrecision: null, cmc: null, precision: null, precisionReference: null, recall: null };
  expect(evalCbir([], cbirTruth(['i', 'Ignored', '']))).toEqual(nothing);
});

test('an unknown and a repeated query are errors', () => {
  const groundTruth = cbirTruth(['q', 'Public', 'a']);
  expect(() => evalCbir([['x', ['a']]], groundTruth)).toThrow('The query x is predicted, but is not in the list of queries.');
  expect(() =>
    evalCbir(
      [
        ['q', ['a']],
        ['q', ['a']],
      ],
      groundTruth,
    ),
  ).toThrow('The query q is predicted twice.');
});

/** get_matching_flag, get_pr, refine_pr and retrieval_ap of the reference's eval_cbir.py, with its arrays, for one query. */
function upstream(queryId: string, relevant: readonly string[], predicted: readonly string[]) {
  const truths = relevant.filter((image) => image !== queryId);
  // convert_online_offline.py keeps a dict of similarities that fall with the rank, eval_cbir.py sorts by them.
  const similarities = new Map(predicted.map((image, rank) => [image, 1 - rank / 100]));
  const sorted = [...similarities].sort(([, a], [, b]) => b - a).map(([image]) => image);
  const valid = sorted.filter((image) => image !== queryId);
  const tpFlag = valid.map((image) => (truths.includes(image) ? 1 : 0));
  const positiveRanks = tpFlag.flatMap((flag, rank) => (flag === 1 ? [rank] : []));
  const recallStep = 1 / truths.length;
  const ap = positiveRanks.reduce((sum, rank, i) => sum + ((i + 1) / (rank + 1)) * recallStep, 0);
  const cumulated = tpFlag.map((_, rank) => tpFlag.slice(0, rank + 1).reduce((sum: number, flag) => sum + flag, 0));
  const padded = Array.from({ length: 100 }, (_, rank) => cumulated[rank] ?? cumulated.at(-1) ?? 0);
  const recall = padded.map((hits) => hits / truths.length);
  const prec = padded.map((_, rank) => (rank < cumulated.length ? (cumulated[rank] ?? 0) / (rank + 1) : 0));
  const refined = [1, 5, 10, 20, 100].map((k) => prec[k - 1] ?? 0);
  const finish = recall.indexOf(1);
  const at = (index: number) => prec[index] ?? 0;
  if (finish >= 0 && finish <= 4) refined[1] = at(finish);
  if (finish >= 0 && finish <= 9) refined[2] = at(finish);
  if (finish >= 0 && finish <= 19) refined[3] = at(finish);
  return { ap, cmc: padded.map((hits) => (hits > 0 ? 1 : 0)), recall, refined };
}

test('it agrees with the reference implementation, on lists with repetitions too', () => {
  const image = fc.constantFrom('q', ...'abcdefghijklmnoprs');
  fc.assert(
    fc.property(fc.uniqueArray(image, { minLength: 1 }), fc.array(image, { minLength: 1, maxLength: 30 }), (relevant, predicted) => {
      fc.pre(relevant.some((id) => id !== 'q'));
      const ours = metricsOf(relevant.join(' '), predicted.join(' '));
      const theirs = upstream('q', relevant, predicted);
      expect(ours.meanAveragePrecision).toBeCloseTo(theirs.ap, 12);
      for (const [index, k] of ([1, 5, 10, 20, 100] as const).entries()) {
        expect(ours.precisionReference?.[k]).toBeCloseTo(theirs.refined[index] ?? -1, 12);
        expect(ours.cmc?.[k]).toBe(theirs.cmc[k - 1]);
        expect(ours.recall?.[k]).toBeCloseTo(theirs.recall[k - 1] ?? -1, 12);
      }
    }),
  );
});
