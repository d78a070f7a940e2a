import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { markOf, preprocessing, stepSettings } from './settings.ts';
import { stepKind } from './states.ts';

/** Paths of the fields that carry no mark; a group of fields needs none of its own. */
function unmarkedFields(schema: z.ZodObject, path: string[] = []): string[] {
  return Object.entries(schema.shape).flatMap(([name, field]) => {
    if (!(field instanceof z.ZodType)) return [[...path, name].join('.')];
    if (markOf(field) !== null) return [];
    return field instanceof z.ZodObject ? unmarkedFields(field, [...path, name]) : [[...path, name].join('.')];
  });
}

describe('settings of steps', () => {
  test('exist for every kind of step', () => {
    expect(Object.keys(stepSettings).sort()).toEqual([...stepKind.options].sort());
  });

  test.each(Object.entries(stepSettings))('of %s are each marked as affecting the result or not', (_kind, schema) => {
    expect(unmarkedFields(schema)).toEqual([]);
  });

  test('without a mark are found, at any depth', () => {
    const marked = z.number().meta({ 'x-affects': 'result' });
    const schema = z.strictObject({ marked, plain: z.number(), group: z.strictObject({ marked, inner: z.string().default('') }) });
    expect(unmarkedFields(schema)).toEqual(['plain', 'group.inner']);
  });

  test('carry a mark through defaults, and an unknown mark is none', () => {
    expect(markOf(stepSettings.train.shape.loaderWorkers)).toBe('operational');
    expect(markOf(stepSettings.train.shape.learningRate)).toBe('result');
    expect(markOf(stepSettings.train.shape.model.shape.backbone)).toBe('result');
    expect(markOf(preprocessing)).toBeNull();
    expect(markOf(z.number().meta({ 'x-affects': 'perhaps' }))).toBeNull();
  });

  test.each(stepKind.options)('of %s refuse an unknown name', (kind) => {
    const parsed = stepSettings[kind].safeParse({ leraningRate: 1 });
    expect(parsed.error?.issues.some((issue) => issue.code === 'unrecognized_keys')).toBe(true);
  });
});
