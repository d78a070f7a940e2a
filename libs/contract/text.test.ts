import { describe, expect, test } from 'vitest';
import { cleanText, firstOf, folderPath, lastOf, reportedDetails, reportedText, writtenText } from './text.ts';

const rocket = '\u{1f680}';

describe('text that people send', () => {
  test.each([
    ['a NUL', 'a\0', 'U+0000) is not allowed, at character 2'],
    ['an escape', `${rocket}\x1b[2J`, 'U+001B) is not allowed, at character 2'],
    ['a C1 control', 'a\x9b', 'U+009B'],
    ['the first half of an emoji', 'a\ud83d', 'half a surrogate pair (U+D83D)'],
    ['the second half of an emoji', '\ude80', 'half a surrogate pair (U+DE80)'],
    ['a line break where one line is meant', 'a\nb', 'U+000A'],
    ['more than it may have', 'abcdef', 'at most 5 characters'],
    ['nothing where something is needed', '', 'one character'],
  ])('with %s is refused with the reason', (_, text, reason) => {
    expect(writtenText(5, { least: 1 }).safeParse(text).error?.issues[0]?.message).toContain(reason);
  });

  test('is counted in characters, whatever they take, and kept as it is', () => {
    expect(writtenText(5).parse(rocket.repeat(5))).toBe(rocket.repeat(5));
    expect(writtenText(5).safeParse(rocket.repeat(6)).success).toBe(false);
    expect(writtenText(9, { lines: true }).parse('a\n\tb')).toBe('a\n\tb');
    expect(writtenText(9, { lines: true }).safeParse('a\r\nb').success).toBe(false);
  });

  test('as a path is no longer than a file system takes', () => {
    expect(folderPath.safeParse(`/${'a'.repeat(255)}`).success).toBe(true);
    expect(folderPath.safeParse(`/${'a'.repeat(256)}`).success).toBe(false);
    expect(folderPath.safeParse(`/${'\u00e9'.repeat(128)}`).success).toBe(false);
    expect(folderPath.safeParse('/a'.repeat(2048)).success).toBe(false);
  });
});

describe('text that programs tell', () => {
  test('is cleaned of what cannot be stored or would act on a terminal, and keeps its lines', () => {
    expect(cleanText('\x1b[31mError\x1b[0m: bad record \0 in\tit\r\nnext\x1b]0;x\x07\x7f\x9b\ud83d', { lines: true })).toBe(
      'Error: bad record \u2400 in\tit\nnext\u241b]0;x\u2407\u2421\ufffd\ufffd',
    );
    expect(cleanText('a\n\tb')).toBe('a  b');
    expect(cleanText(`as it was: ${rocket} \u00e9`)).toBe(`as it was: ${rocket} \u00e9`);
  });

  test('is cut between characters at its most, and never refused', () => {
    expect(reportedText(3).parse(rocket.repeat(9))).toBe(rocket.repeat(3));
    expect(reportedText(3).parse('abc')).toBe('abc');
  });

  test('in details is cleaned wherever it stands, its names too', () => {
    expect(reportedDetails.parse({ 'a\0': [{ b: 'c\ud83d' }, 1, null], d: true })).toEqual({ 'a\u2400': [{ b: 'c\ufffd' }, 1, null], d: true });
    const deep = JSON.parse(`${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`);
    expect(JSON.stringify(reportedDetails.parse(deep)).length).toBeLessThan(200);
  });
});

test('a text is cut at either end without a character cut in two', () => {
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
