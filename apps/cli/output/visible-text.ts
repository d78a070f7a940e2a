/**
 * Controls except line feed and tab, halves of surrogate pairs, and characters that change the direction or the lines of a text or that take
 * no room, so that two names look the same. Joiners and variation selectors belong to emoji and to scripts other than Latin: between or after
 * such characters they stay.
 */
// biome-ignore-start lint/suspicious/noControlCharactersInRegex: it searches for control characters
const unshown =
  /(?![\t\n])[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|(?!(?<=[^\0-\u{2ff}])[\u200c\u200d](?=[^\0-\u{2ff}]))\p{Cf}|(?<![^\0-\u{2ff}])[\u{fe00}-\u{fe0f}]|\u034f|[\u115f\u1160\u17b4\u17b5\u3164\uffa0]|[\u{e0100}-\u{e01ef}]/gu;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: it searches for control characters

/** Select Graphic Rendition (ECMA-48, 8.3.117): colours and weights, the only controls sent to a terminal within text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape that begins one
const rendition = /(\x1b\[[0-9;:]*m)/;

/**
 * Text that people and programs wrote, made safe for a terminal: characters that would control it are escaped, an escape as \x1b.
 * Line breaks stay.
 */
export function visibleText(text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll(unshown, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** Our own text, with our colours and text from others in it: the colours are kept, every other control is escaped. */
export function printable(text: string): string {
  return text
    .split(rendition)
    .map((part, index) => (index % 2 === 1 ? part : visibleText(part)))
    .join('');
}

/** The same in one line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll(/[\t\n]+/g, ' ');
}

/**
 * A line of a program's log. Its colours are kept where colours are shown, and end with the line; of a line that was overwritten, such as
 * a progress bar, the last state is kept.
 */
export function visibleLogLine(line: string, { isColoured }: { isColoured: boolean }): string {
  const last = line.replace(/\r+$/, '').split('\r').at(-1) ?? '';
  const shown = printable(last);
  const plain = shown
    .split(rendition)
    .filter((_, index) => index % 2 === 0)
    .join('');
  if (plain === shown) return shown;
  return isColoured ? `${shown}\x1b[0m` : plain;
}

/** JSON in which everything that would control a terminal is escaped; JSON itself requires that only for the controls below U+0020. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replaceAll(
    unshown,
    // Of a character beyond U+FFFF both halves.
    (character) => character.split('').reduce((shown, unit) => `${shown}\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`, ''),
  );
}
