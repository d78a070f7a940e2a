import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type GroundTruth, type Usage, meanAveragePrecision } from './mean-average-precision.ts';

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
