import { expect, test } from 'vitest';
import { nearestName } from './nearest-name.ts';

test('a slip of the hand finds the name that was meant', () => {
  const known = ['epochs', 'learningRate', 'imageSize', 'mini'];
  expect(['epoch', 'Epochs', 'learning', 'imagesize', 'minni'].map((wrong) => nearestName(wrong, known))).toEqual([
    'epochs',
    'epochs',
    'learningRate',
    'imageSize',
    'mini',
  ]);
});

test('something else entirely is not guessed at', () => {
  expect(nearestName('colour', ['epochs', 'mini'])).toBeNull();
  expect(nearestName('x', [])).toBeNull();
});
