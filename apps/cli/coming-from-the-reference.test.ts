import { readFileSync } from 'node:fs';
import { recipe } from '@cairn/contract';
import { loadRecipes } from '@cairn/engine';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { referenceEnvironment, referenceKeys, referenceScripts, referenceSettings } from './testing/reference-names.ts';

const read = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const page = read('coming-from-the-reference.md');
const reference = read('cli.md');
/** What the page has in code: its last cell of each row, and the text around. */
const spans = [...page.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');

/** The options of each command, as the generated page lists them. */
const options = new Map(reference.split(/^## (?=cairn )/m).map((section) => [section.slice(0, section.indexOf('\n')), section] as const));

test('every command and option that the page names exists', () => {
  const named = spans.filter((span) => span.startsWith('cairn '));
  expect(named.length).toBeGreaterThan(10);
  for (const span of named) {
    const words = span.split(' ');
    const command = [3, 2].map((length) => words.slice(0, length).join(' ')).find((name) => options.has(name));
    expect(command, span).toBeDefined();
    for (const flag of words.filter((word) => word.startsWith('--')))
      expect(options.get(command ?? ''), `${span}: ${flag}`).toMatch(new RegExp(`\`(-\\w, )?${flag}[ \`]`));
  }
});

/** Whether a path such as `stages.NAME.epochs` leads to a setting of a recipe. */
function isSetting(path: string): boolean {
  let schema: unknown = recipe;
  for (const part of path.split('.')) {
    while (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) schema = schema.unwrap();
    if (schema instanceof z.ZodRecord) schema = schema.valueType;
    else if (schema instanceof z.ZodObject && part in schema.shape) schema = schema.shape[part];
    else return false;
  }
  return true;
}

test('every setting that the page names exists', () => {
  const named = spans.flatMap((span) => /^(?:stages|model|prepare|export|extract|search|evaluate|register)\.[\w.]+$/.exec(span)?.[0] ?? []);
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((path) => !isSetting(path))).toEqual([]);
  expect(isSetting('stages.NAME.rate')).toBe(false);
});

test('every recipe and stage that the page names exists, and every built-in pipeline of the reference is on it', async () => {
  const recipes = await loadRecipes();
  const table = page.split('## Recipes')[1]?.split('## Configuration keys')[0] ?? '';
  const ours = [...table.matchAll(/\|[^|]*\|([^|]*)\|/g)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`(\w[\w]*)`/g)].map((match) => match[1] ?? ''),
  );
  expect(ours.filter((name) => !recipes.has(name))).toEqual([]);
  const pipelines = [...recipes.keys()].filter((name) => !['mini', 'mini-resnet50', 'tiny'].includes(name) && !name.endsWith('-paper'));
  expect(new Set(ours)).toEqual(new Set(pipelines));
  expect(recipes.get('SER101ibn')?.recipe.stages['512_all']).toBeDefined();
});

test.each([
  ['script', '## Scripts', referenceScripts],
  ['configuration key', '## Configuration keys', referenceKeys],
  ['setting', '## Settings of the submission', referenceSettings],
  ['environment variable', '## Environment variables', referenceEnvironment],
] as const)('every %s of the reference is on the page', (_what, heading, names) => {
  const section = page.split(`${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const there = [...section.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
  const isNamed = (name: string): boolean =>
    there.some((span) => (span.endsWith('*') ? name.startsWith(span.slice(0, -1)) : span === name || span.startsWith(`${name}:`)));
  expect(names.filter((name) => !isNamed(name))).toEqual([]);
});
