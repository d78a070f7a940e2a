import { expect, test } from 'vitest';
import { nearestName } from './nearest-name.ts';

test('a typing error finds the intended name', () => {
  const known = ['epochs', 'learningRate', 'imageSize', 'mini'];
  expect(['epoch', 'Epochs', 'learning', 'imagesize', 'minni'].map((wrong) => nearestName(wrong, known))).toEqual([
    'epochs',
    'epochs',
    'learningRate',
    'imageSize',
    'mini',
  ]);
});

test('an entirely different name has no suggestion', () => {
  expect(nearestName('colour', ['epochs', 'mini'])).toBeNull();
  expect(nearestName('x', [])).toBeNull();
});
