import { z } from 'zod';

// Text that crosses a wire. What people send is checked and refused with a reason they can act on; what programs tell of their work is
// cleaned and cut, as a program that has died cannot say it again. Neither ever holds what PostgreSQL cannot keep (NUL, half a surrogate pair).

/** Control characters (C0, DEL, C1) and halves of surrogate pairs. */
const unwanted = /[\p{Cc}\p{Cs}]/u;
/** The same without the tab and the line feed, which text of several lines has. */
const unwantedInLines = /(?![\t\n])[\p{Cc}\p{Cs}]/u;

/** The same for JSON Schema: of the whole text, and in escapes that every dialect of regular expressions has. Text in UTF-8 has no halves of pairs. */
const unwantedPattern = '^[^\\u0000-\\u001f\\u007f-\\u009f]*$';
const unwantedInLinesPattern = '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$';

export type TextOptions = {
  /** Whether it may have several lines, and tabs. */
  lines?: boolean;
  /** The fewest characters. */
  least?: number;
};

/** Text that people or their programs send: at most `most` characters, refused with control characters or halves of surrogate pairs in it. */
export function writtenText(most: number, { lines = false, least = 0 }: TextOptions = {}) {
  return z
    .string()
    .check((context) => {
      const fault = faultOf(context.value, { most, lines, least });
      if (fault !== null) context.issues.push({ code: 'custom', message: fault, input: context.value });
    })
    .meta({ ...(least > 0 ? { minLength: least } : {}), maxLength: most, pattern: lines ? unwantedInLinesPattern : unwantedPattern });
}

/** Linux's PATH_MAX and NAME_MAX, in bytes. */
const maxPathBytes = 4095;
const maxNameBytes = 255;
const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

/** The path of a folder on the machines that run Cairn, no longer than a file system takes. */
export const folderPath = writtenText(maxPathBytes, { least: 1 }).refine(
  (path) => bytesOf(path) <= maxPathBytes && path.split('/').every((name) => bytesOf(name) <= maxNameBytes),
  `a path has at most ${maxPathBytes} bytes, and each name in it at most ${maxNameBytes}`,
);

/** Text that a program tells of its work: cleaned, and cut after `most` characters; never refused. */
export function reportedText(most: number, { lines = false }: Pick<TextOptions, 'lines'> = {}) {
  return z.string().transform((text) => firstOf(cleanText(text, { lines }), most));
}

function faultOf(text: string, { most, lines, least }: Required<TextOptions> & { most: number }): string | null {
  if (text.length < least) return `at least ${least === 1 ? 'one character is' : `${least} characters are`} expected`;
  // A character has at most two code units: most texts need not be counted.
  if (text.length > most && firstOf(text, most).length < text.length) return `at most ${most} characters are expected`;
  const found = (lines ? unwantedInLines : unwanted).exec(text);
  if (found === null) return null;
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  const what = /\p{Cs}/u.test(found[0]) ? 'half a surrogate pair' : 'a control character';
  return `${what} (U+${code}) is not allowed, at character ${[...text.slice(0, found.index)].length + 1}`;
}

/**
 * A text without what cannot be stored or would act on a terminal: colours are dropped, line breaks become \n, other control characters
 * their pictures (NUL is ␀), halves of surrogate pairs U+FFFD. Without `lines`, line breaks and tabs become spaces.
 */
export function cleanText(text: string, { lines = false }: Pick<TextOptions, 'lines'> = {}): string {
  // The usual text has nothing of it.
  if (!unwanted.test(text)) return text;
  const plain = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escapes of colours
    .replaceAll(/\x1b\[[0-9;]*m/g, '')
    .replaceAll(/\r\n?/g, '\n');
  return (lines ? plain : plain.replaceAll(/[\t\n]/g, ' ')).replaceAll(new RegExp(unwantedInLines, 'gu'), pictureOf);
}

/** A control character as a sign for it. */
export function pictureOf(control: string): string {
  const code = control.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? '\u2421' : '\ufffd';
}

/** The first `most` characters of a text; none is cut in two. */
export function firstOf(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = text.length > most * 2 ? most * 2 : text.length;
  return [...text.slice(0, end)].slice(0, most).join('');
}

/** The last `most` characters of a text; none is cut in two. */
export function lastOf(text: string, most: number): string {
  if (text.length <= most) return text;
  return [...text.slice(-2 * most - 1)].slice(-most).join('');
}

/** How deep and how large the details are that a program tells. */
const maxDepth = 16;
const maxDetailText = 8000;

/** JSON that a program tells of its work, with every text in it cleaned and cut. */
export const reportedDetails = z.record(z.string(), z.unknown()).transform((details) => cleanRecord(details, 1));

function cleanRecord(record: object, depth: number): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [firstOf(cleanText(key), 200), cleanJson(value, depth)]));
}

function cleanJson(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return firstOf(cleanText(value, { lines: true }), maxDetailText);
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= maxDepth) return null;
  return Array.isArray(value) ? value.map((item) => cleanJson(item, depth + 1)) : cleanRecord(value, depth + 1);
}
