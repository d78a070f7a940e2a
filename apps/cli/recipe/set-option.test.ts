import { expect, test } from 'vitest';
import { parseSetOption, parseSetOptions } from './set-option.ts';

test('the value is read as YAML', () => {
  expect(parseSetOption('stages.384.epochs=2')).toEqual(['stages.384.epochs', 2]);
  expect(parseSetOption('a.b=1e-3')).toEqual(['a.b', 0.001]);
  expect(parseSetOption('a=true')).toEqual(['a', true]);
  expect(parseSetOption('a=clean')).toEqual(['a', 'clean']);
  expect(parseSetOption("stages.b.from='384'")).toEqual(['stages.b.from', '384']);
  expect(parseSetOption('prepare.lists=[clean, full]')).toEqual(['prepare.lists', ['clean', 'full']]);
  expect(parseSetOption('description=x=y')).toEqual(['description', 'x=y']);
  expect(parseSetOption('dataset=null')).toEqual(['dataset', null]);
  expect(parseSetOption('stages."v1.5".epochs=2')).toEqual(['stages."v1.5".epochs', 2]);
});

test.each([
  ['epochs', 'is not an assignment'],
  ['=2', 'is not an assignment'],
  ['epochs=', 'has no value'],
  ['lists=[a', 'is not YAML'],
])('%s is refused: it %s', (option, message) => {
  expect(() => parseSetOption(option)).toThrow(message);
});

test('a duplicate path is refused, even one that looks like a property of every object', () => {
  expect(() => parseSetOptions(['a=1', 'b=2', 'a=3'])).toThrow('--set a is given twice');
  expect(() => parseSetOptions(['a.b=1', 'a."b"=2'])).toThrow('--set a.b is given twice');
  expect(parseSetOptions(['a=1', 'toString=2'])).toEqual({ a: 1, toString: 2 });
  expect(Object.entries(parseSetOptions(['__proto__=2']))).toEqual([['__proto__', 2]]);
});
