import { idOf, idPrefixes } from '@cairn/contract';
import { expect, test } from 'vitest';
import { createIdSource, newId } from './ids.ts';

const kinds = Object.keys(idPrefixes) as (keyof typeof idPrefixes)[];

test.each(kinds)('an id of kind %s fits its schema', (kind) => {
  expect(idOf(kind).safeParse(newId(kind)).success).toBe(true);
});

test('ids ascend in the order in which they are made', () => {
  const ids = Array.from({ length: 5000 }, () => newId('attempt'));
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});

test('ids ascend when the clock steps back', () => {
  const times = [1000, 999, 10, 1000, 1001];
  const make = createIdSource({ now: () => times.shift() ?? 0 });
  const ids = Array.from({ length: 5 }, () => make('run'));
  expect(ids.toSorted()).toEqual(ids);
});

test('ids ascend when the random part of a millisecond is exhausted', () => {
  const make = createIdSource({ now: () => 1000, random: (size) => new Uint8Array(size).fill(255) });
  const ids = [make('run'), make('run'), make('run')];
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids).size).toBe(3);
});

test('the first ten characters are the time, as in the ULID specification', () => {
  // The example of https://github.com/ulid/spec: 1469918176385 ms is 01ARYZ6S41.
  expect(createIdSource({ now: () => 1469918176385 })('run')).toMatch(/^run_01aryz6s41/);
});
