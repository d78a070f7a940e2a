import { idOf, idPrefixes } from '@cairn/contract';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { readConfiguration } from './configuration.ts';
import { createIdSource, newId } from './ids.ts';
import { createSecretKeys, secretKeysVariable } from './secret-keys.ts';

const [oldKey, newKey] = ['o'.repeat(32), 'n'.repeat(32)];
const read = (text: string) => readConfiguration(z.object({ CAIRN_SECRETS_KEYS: secretKeysVariable }), { CAIRN_SECRETS_KEYS: text });

test('what is sealed opens again under its identity, and under no other', () => {
  const keys = createSecretKeys([{ id: 'k1', key: oldKey }]);
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (text, identity) => {
      const sealed = keys.seal(text, identity);
      expect(keys.open(sealed, identity)).toBe(text);
      expect(keys.seal(text, identity).sealed).not.toEqual(sealed.sealed);
      expect(() => keys.open(sealed, `${identity}x`)).toThrow(/sealed with another key, or changed/);
    }),
    { numRuns: 50 },
  );
});

test('every byte of a sealed text counts', () => {
  const keys = createSecretKeys([{ id: 'k1', key: oldKey }]);
  const { keyId, sealed } = keys.seal('the secret', 'row');
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = sealed.map((byte, index) => (index === at ? byte ^ 1 : byte));
    expect(() => keys.open({ keyId, sealed: changed }, 'row'), `byte ${at}`).toThrow('changed');
  }
  expect(() => keys.open({ keyId, sealed: sealed.subarray(0, 20) }, 'row')).toThrow('changed');
});

test('the first key seals and all of them open', () => {
  const before = read(`k1:${oldKey}`).CAIRN_SECRETS_KEYS;
  const during = read(`k2:${newKey}, k1:${oldKey}`).CAIRN_SECRETS_KEYS;
  const after = read(`k2:${newKey}`).CAIRN_SECRETS_KEYS;
  const old = before.seal('s', 'row');
  expect(during.open(old, 'row')).toBe('s');
  expect(after.open(during.seal('s', 'row'), 'row')).toBe('s');
  expect(() => after.open(old, 'row')).toThrow('the key "k1", which CAIRN_SECRETS_KEYS does not have');
  // Another key under the same id is not mistaken for it.
  expect(() => read(`k1:${newKey}`).CAIRN_SECRETS_KEYS.open(old, 'row')).toThrow('sealed with another key');
});

test.each([
  ['without an id', oldKey, 'key 1 is not ID:KEY'],
  ['too short', 'k1:short-one', 'the key "k1" has 9 characters'],
  ['twice the same id', `k1:${oldKey},k1:${newKey}`, 'two keys have the same id'],
  ['empty', ' , ', 'it has 0 keys'],
])('keys %s are refused without quoting them', (_, text, message) => {
  expect(() => read(text)).toThrow(message);
  expect(() => read(text)).not.toThrow(/o{32}|n{32}|short-one/);
});

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
