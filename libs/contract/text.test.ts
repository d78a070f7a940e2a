import { describe, expect, test } from 'vitest';
import { datasetReference } from './names.ts';
import { cleanText, firstOf, folderPath, lastOf, reportedDetails, reportedText, writtenText } from './text.ts';

const rocket = '\u{1f680}';

describe('text from people', () => {
  test.each([
    ['a NUL', 'a\0', 'U+0000) is not allowed, at character 2'],
    ['an escape', `${rocket}\x1b[2J`, 'U+001B) is not allowed, at character 2'],
    ['a C1 control', 'a\x9b', 'U+009B'],
    ['the first half of an emoji', 'a\ud83d', 'half a surrogate pair (U+D83D)'],
    ['the second half of an emoji', '\ude80', 'half a surrogate pair (U+DE80)'],
    ['a line break in single-line text', 'a\nb', 'U+000A'],
    ['too many characters', 'abcdef', 'at most 5 characters'],
    ['empty text where it is required', '', 'one character'],
  ])('with %s is rejected with the reason', (_, text, reason) => {
    expect(writtenText(5, { least: 1 }).safeParse(text).error?.issues[0]?.message).toContain(reason);
  });

  test('is counted in characters, not bytes, and kept unchanged', () => {
    expect(writtenText(5).parse(rocket.repeat(5))).toBe(rocket.repeat(5));
    expect(writtenText(5).safeParse(rocket.repeat(6)).success).toBe(false);
    expect(writtenText(9, { lines: true }).parse('a\n\tb')).toBe('a\n\tb');
    expect(writtenText(9, { lines: true }).safeParse('a\r\nb').success).toBe(false);
  });

  test('as a path is limited to what a file system accepts', () => {
    expect(folderPath.safeParse(`/${'a'.repeat(255)}`).success).toBe(true);
    expect(folderPath.safeParse(`/${'a'.repeat(256)}`).success).toBe(false);
    expect(folderPath.safeParse(`/${'\u00e9'.repeat(128)}`).success).toBe(false);
    expect(folderPath.safeParse('/a'.repeat(2048)).success).toBe(false);
  });
});

describe('text from programs', () => {
  test('loses what cannot be stored or would control a terminal, and keeps its lines', () => {
    expect(cleanText('\x1b[31mError\x1b[0m: bad record \0 in\tit\r\nnext\x1b]0;x\x07\x7f\x9b\ud83d', { lines: true })).toBe(
      'Error: bad record \u2400 in\tit\nnext\u241b]0;x\u2407\u2421\ufffd\ufffd',
    );
    expect(cleanText('a\n\tb')).toBe('a  b');
    expect(cleanText(`as it was: ${rocket} \u00e9`)).toBe(`as it was: ${rocket} \u00e9`);
  });

  test('is truncated between characters at its maximum, and never rejected', () => {
    expect(reportedText(3).parse(rocket.repeat(9))).toBe(rocket.repeat(3));
    expect(reportedText(3).parse('abc')).toBe('abc');
  });

  test('in details is cleaned at every depth, including keys', () => {
    expect(reportedDetails.parse({ 'a\0': [{ b: 'c\ud83d' }, 1, null], d: true })).toEqual({
      'a\u2400': [{ b: 'c\ufffd' }, 1, null],
      d: true,
    });
    const deep = JSON.parse(`${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`);
    expect(JSON.stringify(reportedDetails.parse(deep)).length).toBeLessThan(200);
  });
});

test('a text is truncated at either end without splitting a character', () => {
  const text = `${rocket.repeat(3)}ab`;
  expect([1, 2, 3, 4, 9].map((most) => firstOf(text, most))).toEqual([
    rocket,
    rocket.repeat(2),
    rocket.repeat(3),
    `${rocket.repeat(3)}a`,
    text,
  ]);
  expect([1, 2, 3, 4, 9].map((most) => lastOf(text, most))).toEqual(['b', 'ab', `${rocket}ab`, `${rocket.repeat(2)}ab`, text]);
});

test('a dataset reference is a name, optionally with a version that fits the database', () => {
  const fits = (text: string) => datasetReference.safeParse(text).success;
  expect(['mini', 'gld-v2.1@12', 'mini@999999999'].map(fits)).toEqual([true, true, true]);
  expect(['', '../mini', 'mini@', 'mini@x', 'mini@-1', 'mini@99999999999'].map(fits)).toEqual(Array(6).fill(false));
});
