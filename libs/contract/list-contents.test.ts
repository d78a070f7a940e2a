import { expect, test } from 'vitest';
import { labelSizes, labelSizesOf } from './list-contents.ts';

test('labels are counted in powers of two, from the smallest label to the largest, with the exact median', () => {
  const counts = [
    { rows: 2, labels: 3 },
    { rows: 3, labels: 1 },
    { rows: 4, labels: 1 },
    { rows: 64, labels: 1 },
  ];
  const sizes = labelSizesOf(counts, [{ label: 7, rows: 64 }]);
  expect(sizes).toEqual({
    bins: [
      { from: 2, to: 3, labels: 4, rows: 9 },
      { from: 4, to: 7, labels: 1, rows: 4 },
      { from: 8, to: 15, labels: 0, rows: 0 },
      { from: 16, to: 31, labels: 0, rows: 0 },
      { from: 32, to: 63, labels: 0, rows: 0 },
      { from: 64, to: 127, labels: 1, rows: 64 },
    ],
    least: 2,
    median: 2.5,
    most: 64,
    largest: [{ label: 7, rows: 64 }],
  });
  expect(labelSizes.parse(sizes)).toEqual(sizes);
  expect(labelSizesOf([], [])).toBeNull();
});
