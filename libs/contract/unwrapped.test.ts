import { expect, test } from 'vitest';
import { z } from 'zod';
import { unwrapped } from './unwrapped.ts';

test('every wrapper is taken off, in any order, and nothing else', () => {
  const object = z.object({ epochs: z.number() });
  expect(unwrapped(object.optional().nullable().default(null).prefault(null))).toBe(object);
  const list = z.array(object);
  expect(unwrapped(list)).toBe(list);
});
