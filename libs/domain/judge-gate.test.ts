import { parseGate } from '@cairn/contract';
import { expect, test } from 'vitest';
import { judgeGate } from './judge-gate.ts';

const facts = { value: 0.6, baselineValue: 0.2, low: 0.4, high: 0.4, baselineName: null };

test('one query decides nothing by its interval, which has no width, and decides by the mean', () => {
  const gate = parseGate('mAP@100.europe >= 20 %');
  expect(judgeGate(gate, 'interval', 1, { ...facts, queries: 1 })).toMatchObject({
    verdict: 'inconclusive',
    reason:
      'mAP@100.europe is 60.00 %, +40.00 points from the 20.00 % that are required, over 1 query. ' +
      'No loss is accepted: one query has no interval, so it does not decide.',
  });
  expect(judgeGate(gate, 'interval', 1, { ...facts, value: 0.1, low: -0.1, high: -0.1, queries: 1 }).verdict).toBe('inconclusive');
  expect(judgeGate(gate, 'mean', 1, { ...facts, queries: 1 }).verdict).toBe('passed');
  expect(judgeGate(gate, 'interval', 1, { ...facts, queries: 2 }).verdict).toBe('passed');
});
