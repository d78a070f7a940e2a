import { expect, test } from 'vitest';
import { datasetReference } from './names.ts';

test('a dataset reference is a name, optionally with a version that fits the database', () => {
  const fits = (text: string) => datasetReference.safeParse(text).success;
  expect(['mini', 'gld-v2.1@12', 'mini@999999999'].map(fits)).toEqual([true, true, true]);
  expect(['', '../mini', 'mini@', 'mini@x', 'mini@-1', 'mini@99999999999'].map(fits)).toEqual(Array(6).fill(false));
});
