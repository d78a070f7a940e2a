import { expect, test } from 'vitest';
import { parseGate } from './gates.ts';

test('the part of a metric may be written as the column Usage has it', () => {
  expect(parseGate('mAP@100.Private >= 20 %')).toMatchObject({ part: 'private', metric: 'mAP@100.Private' });
  expect(parseGate('recall@10.North-America >= production - 1 point')).toMatchObject({ part: 'north-america' });
});

test.each([
  ['mAP@100 >= production - 0.2', 'its tolerance has no unit; write 0.2 points or 0.2 %'],
  ['mAP@100 >= production - 120 %', 'a tolerance of 120 % accepts everything; it has at most 100'],
  ['mAP@100.Atlantis >= production', 'Atlantis is neither a usage nor a continent'],
  ['mAP@100 > production - 0.2', 'it is not METRIC >= BASELINE, or METRIC >= BASELINE - TOLERANCE'],
  ['mAP@100 >= ', 'it is not METRIC >= BASELINE, or METRIC >= BASELINE - TOLERANCE'],
])('the gate %s cannot be read, and the reason is named', (gate, why) => {
  expect(() => parseGate(gate)).toThrow(`cannot be read: ${why}`);
});
