import { expect, test } from 'vitest';
import { packageClosure } from './pack.ts';

test('a package is found where Node finds it, and what nobody wants stays out', () => {
  const locked = {
    'apps/worker': { dependencies: { '@cairn/storage': '*', a: '1' } },
    'libs/storage': { dependencies: { b: '2' } },
    'node_modules/@cairn/storage': { link: true, resolved: 'libs/storage' },
    'node_modules/a': { dependencies: { b: '1' }, optionalDependencies: { 'a-for-another-platform': '1' } },
    'node_modules/a/node_modules/b': { dependencies: { c: '1' } },
    'node_modules/b': {},
    'node_modules/c': {},
    'node_modules/d': {},
  };
  expect(packageClosure(locked, ['apps/worker'])).toEqual([
    'apps/worker',
    'libs/storage',
    'node_modules/@cairn/storage',
    'node_modules/a',
    'node_modules/a/node_modules/b',
    'node_modules/b',
    'node_modules/c',
  ]);
});
