import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { settingPath, settingPathText, unwrapped } from './setting-path.ts';
import { knownCounts, markOf, preprocessing, resultSettings, stepSettings } from './settings.ts';
import { stepKind } from './states.ts';

/** Paths of the fields that carry no mark; a group of fields needs none of its own. */
function unmarkedFields(schema: z.ZodObject, path: string[] = []): string[] {
  return Object.entries(schema.shape).flatMap(([name, field]) => {
    if (!(field instanceof z.ZodType)) return [[...path, name].join('.')];
    if (markOf(field) !== null) return [];
    const group = unwrapped(field);
    return group instanceof z.ZodObject ? unmarkedFields(group, [...path, name]) : [[...path, name].join('.')];
  });
}

describe('settings of steps', () => {
  test('exist for every kind of step', () => {
    expect(Object.keys(stepSettings).sort()).toEqual([...stepKind.options].sort());
  });

  test.each(Object.entries(stepSettings))('of %s each have a mark: whether they affect the result', (_kind, schema) => {
    expect(unmarkedFields(schema)).toEqual([]);
  });

  test('without a mark are found, at any depth', () => {
    const marked = z.number().meta({ 'x-affects': 'result' });
    const group = z.strictObject({ marked, inner: z.string().default('') }).prefault({ marked: 1 });
    const schema = z.strictObject({ marked, plain: z.number(), group });
    expect(unmarkedFields(schema)).toEqual(['plain', 'group.inner']);
  });

  test('affect the result as their marks say, those in a group too', () => {
    const settings = stepSettings.rerank.parse({ weights: { A: 1 }, rerank: { mode: 'off' }, blockRows: 10 });
    const { blockRows: _, ...results } = settings;
    // A group that is null is not: recipes of releases without it have the same keys.
    const { localMatching: _off, ...rerank } = results.rerank;
    expect(resultSettings({ kind: 'rerank', settings })).toEqual({ ...results, rerank });
    const stage = { from: 'init', list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 2, ranks: 1, loaderWorkers: 3 };
    const trained = stepSettings.train.parse({ ...stage, model: { backbone: 'resnet18' } });
    expect(resultSettings({ kind: 'train', settings: trained })).toMatchObject({ epochs: 1, model: trained.model });
    expect(resultSettings({ kind: 'train', settings: trained })).not.toHaveProperty('loaderWorkers');
  });

  test('keep their mark through defaults, and an unknown mark counts as none', () => {
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

/** Table 1 of arXiv 2110.04294 (images / ids), and the numbers that GLDv2 and the reference's README state. */
const table = `
clean        | 1,580,470 | 81,313
c2x          | 3,223,078 | 81,313
full         | 4,132,914 | 203,094
all          | 4,825,830 | 203,094
query        | 1,129     |
index        | 761,757   |
index_expand | 78,959    |`;

test('the counts of the lists are the published ones', () => {
  const number = (text = ''): number | null => (text === '' ? null : Number(text.replaceAll(',', '')));
  const rows = table
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(Object.entries(knownCounts).map(([list, { rows, labels }]) => [list, rows, labels])).toEqual(
    rows.map(([list, count, labels]) => [list, number(count), number(labels)]),
  );
});

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
