import { z } from 'zod';

// Text that crosses a wire. Text from people is checked and rejected with a reason that they can act on; text from programs is cleaned and
// truncated, since a program that has died cannot send it again. Neither ever contains what PostgreSQL cannot store (NUL, half a surrogate
// pair).

/** Control characters (C0, DEL, C1) and halves of surrogate pairs. */
const unwanted = /[\p{Cc}\p{Cs}]/u;
/** The same except tab and line feed, which multi-line text may contain. */
const unwantedInLines = /(?![\t\n])[\p{Cc}\p{Cs}]/u;

/**
 * The same for JSON Schema: for the whole text, in escapes that every regular expression dialect supports. UTF-8 has no surrogate pairs.
 */
const unwantedPattern = '^[^\\u0000-\\u001f\\u007f-\\u009f]*$';
const unwantedInLinesPattern = '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$';

export type TextOptions = {
  /** Whether several lines and tabs are allowed. */
  lines?: boolean;
  /** The fewest characters. */
  least?: number;
};

/** Text from people or their programs: at most `most` characters; control characters and halves of surrogate pairs are rejected. */
export function writtenText(most: number, { lines = false, least = 0 }: TextOptions = {}) {
  return z
    .string()
    .check((context) => {
      const fault = faultOf(context.value, { most, lines, least });
      if (fault !== null) context.issues.push({ code: 'custom', message: fault, input: context.value });
    })
    .meta({ ...(least > 0 ? { minLength: least } : {}), maxLength: most, pattern: lines ? unwantedInLinesPattern : unwantedPattern });
}

/** What is wrong with a value, from zod's message: `missing, expected a string`, `expected a number, not a string`. */
export function faultText(message: string): string {
  const [, expected = '', received] = /^Invalid input: expected (\S+), received (\S+)$/.exec(message) ?? [];
  if (received === undefined) return message.replace(/^Invalid (?:input|string): /, '');
  return received === 'undefined' ? `missing, expected ${kindText(expected)}` : `expected ${kindText(expected)}, not ${kindText(received)}`;
}

const kindText = (kind: string): string =>
  ['null', 'nan'].includes(kind.toLowerCase()) ? kind : `${/^[aeiou]/i.test(kind) ? 'an' : 'a'} ${kind}`;

/** Linux's PATH_MAX and NAME_MAX, in bytes. */
const maxPathBytes = 4095;
const maxNameBytes = 255;
const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

/** The path of a folder on the machines that run Cairn, no longer than a file system accepts. */
export const folderPath = writtenText(maxPathBytes, { least: 1 }).refine(
  (path) => bytesOf(path) <= maxPathBytes && path.split('/').every((name) => bytesOf(name) <= maxNameBytes),
  `a path must have at most ${maxPathBytes} bytes, and each name in it at most ${maxNameBytes}`,
);

/** Text from a program: cleaned, and truncated after `most` characters; never rejected. */
export function reportedText(most: number, { lines = false }: Pick<TextOptions, 'lines'> = {}) {
  return z.string().transform((text) => firstOf(cleanText(text, { lines }), most));
}

function faultOf(text: string, { most, lines, least }: Required<TextOptions> & { most: number }): string | null {
  if (text.length < least) return `expected at least ${least === 1 ? 'one character' : `${least} characters`}`;
  // A character has at most two code units, so most texts need no counting.
  if (text.length > most && firstOf(text, most).length < text.length) return `expected at most ${most} characters`;
  const found = (lines ? unwantedInLines : unwanted).exec(text);
  if (found === null) return null;
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  const what = /\p{Cs}/u.test(found[0]) ? 'half a surrogate pair' : 'a control character';
  return `${what} (U+${code}) is not allowed, at character ${[...text.slice(0, found.index)].length + 1}`;
}

/**
 * Replaces what cannot be stored or would control a terminal: colours are dropped, line breaks become \n, other control characters their
 * control pictures (NUL is ␀), halves of surrogate pairs U+FFFD. Without `lines`, line breaks and tabs become spaces.
 */
export function cleanText(text: string, { lines = false }: Pick<TextOptions, 'lines'> = {}): string {
  // The usual text needs no change.
  if (!unwanted.test(text)) return text;
  const plain = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour escapes contain one
    .replaceAll(/\x1b\[[0-9;]*m/g, '')
    .replaceAll(/\r\n?/g, '\n');
  return (lines ? plain : plain.replaceAll(/[\t\n]/g, ' ')).replaceAll(new RegExp(unwantedInLines, 'gu'), pictureOf);
}

/** The Unicode control picture of a control character. */
export function pictureOf(control: string): string {
  const code = control.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? '\u2421' : '\ufffd';
}

/** The first `most` characters of a text; no character is split. */
export function firstOf(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = text.length > most * 2 ? most * 2 : text.length;
  return [...text.slice(0, end)].slice(0, most).join('');
}

/** The last `most` characters of a text; no character is split. */
export function lastOf(text: string, most: number): string {
  if (text.length <= most) return text;
  return [...text.slice(-2 * most - 1)].slice(-most).join('');
}

/** Limits of the depth and size of details from a program. */
const maxDepth = 16;
const maxDetailText = 8000;

/** JSON from a program, with every text in it cleaned and truncated. */
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

/** Whether a dataset's place is an address instead of a folder. */
export function isDatasetUrl(place: string): boolean {
  return /^[a-z0-9]+:\/\//i.test(place);
}

/**
 * Why an address cannot be a dataset's place, or null. It names a bucket and a prefix, or a folder of a web server, and nothing else: how the
 * server is reached is the operator's setting, so a dataset cannot lead the service to another one.
 */
export function datasetUrlFault(place: string): string | null {
  if (!URL.canParse(place)) return 'is not a URL';
  const url = new URL(place);
  if (!['s3:', 'http:', 'https:'].includes(url.protocol)) return 'is not an s3://, https:// or http:// address';
  if (url.username !== '' || url.password !== '') return 'has credentials, which must not be part of it';
  if (url.search !== '' || url.hash !== '') return 'has a query, which belongs to the allowed address in CAIRN_DATASET_URLS';
  const path = place
    .slice(url.protocol.length + 2)
    .split('/')
    .slice(1)
    .join('/');
  if (
    /[%\\]/.test(path) ||
    path.split('/').some((name, index, all) => name === '.' || name === '..' || (name === '' && index < all.length - 1))
  )
    return 'has a path with %, \\, an empty name, . or ..';
  return null;
}
