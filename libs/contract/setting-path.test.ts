import { expect, test } from 'vitest';
import { z } from 'zod';
import { settingPath, settingPathText, unwrapped } from './setting-path.ts';

test.each([
  ['stages.384.epochs', ['stages', '384', 'epochs']],
  ['stages."a.b".epochs', ['stages', 'a.b', 'epochs']],
  ['name', ['name']],
])('the path %s has its parts, and is written as it was', (path, parts) => {
  expect(settingPath(path)).toEqual(parts);
  expect(settingPathText(parts)).toBe(path);
});

test('a name in quotes that needs none is the same name', () => {
  expect(settingPath('stages."384".epochs')).toEqual(['stages', '384', 'epochs']);
});

test.each(['a..b', '.a', 'a.', 'a."b', 'a."".b', 'a"b".c', '"a"b'])('%s is refused with the way to write it', (path) => {
  expect(() => settingPath(path)).toThrow(
    expect.objectContaining({ code: 'unknown_setting', message: expect.stringContaining('double quotes') }),
  );
});

test('every wrapper is taken off, in any order, and nothing else', () => {
  const object = z.object({ epochs: z.number() });
  expect(unwrapped(object.optional().nullable().default(null).prefault(null))).toBe(object);
  const list = z.array(object);
  expect(unwrapped(list)).toBe(list);
});
