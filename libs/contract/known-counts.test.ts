import { expect, test } from 'vitest';
import { knownCounts } from './known-counts.ts';

/** Table 1 of arXiv 2110.04294 (images / ids), and the numbers that GLDv2 and the reference's README state. */
const table = `
clean        | 1,580,470 | 81,313
c2x          | 3,223,078 | 81,313
full         | 4,132,914 | 203,094
all          | 4,825,830 | 203,094
query        | 1,129     |
index        | 761,757   |
index_expand | 78,959    |`;

test('the counts of the lists are the published ones', () => {
  const number = (text = ''): number | null => (text === '' ? null : Number(text.replaceAll(',', '')));
  const rows = table
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(Object.entries(knownCounts).map(([list, { rows, labels }]) => [list, rows, labels])).toEqual(
    rows.map(([list, count, labels]) => [list, number(count), number(labels)]),
  );
});
