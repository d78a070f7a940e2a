import { expect, test } from 'vitest';
import { partsOf, progressText, resultText, shareOf } from './step-text.ts';

const shards = { total: 4, committed: 1, leased: 2, rows: 1_200, rejected: 3 };
const progress = { done: 50, total: 100, unit: 'images', rate: 812.3, etaSeconds: 65, message: '' } as const;

test('a step is as far as its images or its shards, whichever is further', () => {
  expect(shareOf({ shards, progress })).toBe(0.5);
  expect(shareOf({ shards: { ...shards, committed: 3 }, progress })).toBe(0.75);
  expect(shareOf({ shards: null, progress: null })).toBeNull();
});

test('what a step does and has achieved is one line with units', () => {
  expect(progressText({ shards, progress })).toBe('1 of 4 shards, 812 images/s, 50 of 100 images, 1 min 5 s left');
  // What a worker of a fleet says is about itself alone.
  expect(progressText({ shards, progress: { ...progress, message: '2 shards done by this worker' } })).toBe(
    progressText({ shards, progress }),
  );
  expect(progressText({ shards: null, progress: { ...progress, message: 'epoch 2 of 4' } })).toBe('epoch 2 of 4, 1 min 5 s left');
  expect(resultText({ shards, scores: {} })).toBe('1,200 rows in 1 shard, 3 rejected');
  expect(resultText({ shards: null, scores: { 'mapAt100.start': 0.21, 'mapAt100.end': 0.683 } })).toBe('mAP@100 21.0 % → 68.3 %');
  const evaluation = { mapAt100: 0.262, 'mapAt100.low': 0.158, 'mapAt100.high': 0.398 };
  expect(resultText({ shards: null, scores: evaluation })).toBe('mAP@100 26.2 % (95 % interval 15.8 % to 39.8 %)');
});

test('the names of steps in a sentence are found whole', () => {
  const parts = partsOf('waiting for 384_finetune and 384 (running)', ['384', '384_finetune']);
  expect(parts.filter(({ name }) => name !== null).map(({ at, text }) => [at, text])).toEqual([
    [12, '384_finetune'],
    [29, '384'],
  ]);
  expect(parts.map(({ text }) => text).join('')).toBe('waiting for 384_finetune and 384 (running)');
});
