import { stepSettings } from '@cairn/contract';
import { expect, test } from 'vitest';
import { settingRows } from './settings-rows.ts';

test('settings are one row a value, and tell those of the schema from those that were given', () => {
  const settings = { ...stepSettings.search.parse({}), topK: 7 };
  const rows = settingRows([{ name: 'search', kind: 'search', settings }]);
  expect(rows.find(({ path }) => path === 'topK')).toEqual({ step: 'search', path: 'topK', value: '7', isDefault: false });
  expect(rows.filter(({ path }) => path !== 'topK').every(({ isDefault }) => isDefault)).toBe(true);
});

test('a name with a dot is quoted as the command line takes it, and a step without settings has no row', () => {
  expect(settingRows([{ name: 'a', kind: 'evaluate', settings: { deep: { 'v1.5': [1, 2] } } }])).toEqual([
    { step: 'a', path: 'deep."v1.5"', value: '[1,2]', isDefault: false },
  ]);
  expect(settingRows([{ name: 'a', kind: 'evaluate', settings: {} }])).toEqual([]);
});
