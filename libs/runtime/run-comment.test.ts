import { expect, test } from 'vitest';
import { markdownCode, markdownTable, markdownText } from './run-comment.ts';

test.each([
  ['BSD-3-Clause', 'BSD-3-Clause'],
  ['MIT\n\n## Metrics\n\n| mAP | 99 |', 'MIT \\#\\# Metrics \\| mAP \\| 99 \\|'],
  ['MIT\r\n\u2028\u0085x', 'MIT x'],
  ['<script>alert(1)</script> & more', '&lt;script&gt;alert(1)&lt;/script&gt; &amp; more'],
  ['[here](javascript:x) ![p](y) *b* `c`', '\\[here\\](javascript:x) \\!\\[p\\](y) \\*b\\* \\`c\\`'],
  ['@org/team, look: (@ann) a@b.org @ 5', '@&#8203;org/team, look: (@&#8203;ann) a@b.org @ 5'],
  ['a\0b \ud800 \u202ec', 'ab  c'],
  ['https://example.org/a_b.pth?x=[1]', '<https://example.org/a_b.pth?x=[1]>'],
  ['https://example.org/a>\n# b', 'https://example.org/a&gt; \\# b'],
  ['https://example.org/<b>', '<https://example.org/%3Cb%3E>'],
])('the text %j is written as %j', (text, written) => {
  expect(markdownText(text)).toBe(written);
});

test.each([
  ['/data/gld', '`/data/gld`'],
  ['a`b``c', '``` a`b``c ```'],
  ['a`\n# b', '`` a` # b ``'],
])('the code %j is written as %j', (text, written) => {
  expect(markdownCode(text)).toBe(written);
});

test('a pipe or a line end in a cell does not end the cell or row, and is not escaped twice', () => {
  expect(markdownTable(['a', 'b'], [['x|y', `${markdownText('p|q')}\nr`]])).toEqual(['| a | b |', '| --- | --- |', '| x\\|y | p\\|q r |']);
  // Of two backslashes before a pipe, the first escapes the second.
  expect(markdownTable([], [[markdownCode('x\\\\|y')]]).at(-1)).toBe('| `x\\\\\\|y` |');
});
