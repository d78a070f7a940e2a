import { expect, test } from 'vitest';
import { z } from 'zod';
import { settingPath, settingPathText, unwrapped } from './setting-path.ts';

test.each([
  ['stages.384.epochs', ['stages', '384', 'epochs']],
  ['stages."a.b".epochs', ['stages', 'a.b', 'epochs']],
  ['name', ['name']],
])('the path %s is split into its parts and formatted unchanged', (path, parts) => {
  expect(settingPath(path)).toEqual(parts);
  expect(settingPathText(parts)).toBe(path);
});

test('a quoted name that needs no quotes is the same name', () => {
  expect(settingPath('stages."384".epochs')).toEqual(['stages', '384', 'epochs']);
});

test.each(['a..b', '.a', 'a.', 'a."b', 'a."".b', 'a"b".c', '"a"b'])('%s is rejected with the correct syntax', (path) => {
  expect(() => settingPath(path)).toThrow(
    expect.objectContaining({ code: 'unknown_setting', message: expect.stringContaining('double quotes') }),
  );
});

test('every wrapper is removed, in any order, and nothing else', () => {
  const object = z.object({ epochs: z.number() });
  expect(unwrapped(object.optional().nullable().default(null).prefault(null))).toBe(object);
  const list = z.array(object);
  expect(unwrapped(list)).toBe(list);
});
