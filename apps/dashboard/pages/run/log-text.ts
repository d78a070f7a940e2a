import Anser from 'anser';
import { z } from 'zod';

/** A piece of a line in one colour. `look` has the names of the classes of run.css. */
export type LogPiece = { text: string; look: string };

/** The most characters of a line that are drawn; the download has them all. */
export const shownCharacters = 4_000;

/**
 * A line as a terminal shows it in the end: a carriage return starts it again, so that a progress bar of thousands of updates is its last
 * one.
 */
export function lastUpdate(line: string): string {
  const updates = line.split('\r');
  return updates.findLast((update) => update !== '') ?? '';
}

const logRecord = z.looseObject({ level: z.string(), time: z.iso.datetime(), msg: z.string() });
const writtenError = z.looseObject({ stack: z.string() });
/** The same on every line of an attempt. */
const repeated = new Set(['level', 'time', 'msg', 'pid', 'name', 'hostname']);
const levelLooks: Readonly<Record<string, string>> = { warn: 'ansi-yellow', error: 'ansi-red', fatal: 'ansi-red bold' };

/**
 * A line of JSON that a program of Cairn logged, as people read it: time, level, message, what else it says, and the stack of an error.
 * Null for any other line.
 *
 * @param clock writes a time of day, from milliseconds since 1970
 */
export function recordPieces(line: string, clock: (ms: number) => string): LogPiece[] | null {
  if (!line.startsWith('{')) return null;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const parsed = logRecord.safeParse(value);
  if (!parsed.success) return null;
  const { level, time, msg } = parsed.data;
  const more = Object.entries(parsed.data).filter(([key]) => !repeated.has(key));
  const errors = more.flatMap(([key, one]) => {
    const error = writtenError.safeParse(one);
    return error.success ? [{ key, stack: error.data.stack }] : [];
  });
  const rest = more.filter(([key]) => !errors.some((error) => error.key === key));
  return [
    { text: `${clock(Date.parse(time))} `, look: 'dim' },
    { text: `${level.padEnd(5)} `, look: levelLooks[level] ?? 'dim' },
    { text: withoutControls(msg), look: '' },
    ...rest.map(([key, one]) => ({ text: withoutControls(` ${key}=${typeof one === 'string' ? one : JSON.stringify(one)}`), look: 'dim' })),
    ...errors.map(({ stack }) => ({ text: withoutControls(`\n${stack}`), look: 'ansi-red' })),
  ];
}

/** The pieces of a line, coloured as its ANSI escape sequences say; other control characters are left out. */
export function piecesOf(line: string): LogPiece[] {
  const shown = lastUpdate(line).slice(0, shownCharacters);
  return Anser.ansiToJson(shown, { use_classes: true, json: true, remove_empty: true }).map((piece) => ({
    text: withoutControls(piece.content),
    look: [piece.fg, ...piece.decorations.filter((name) => name === 'bold' || name === 'dim' || name === 'underline')]
      // Colours out of a palette of 256 or 16 million have no class; they keep the text's own colour.
      .filter((name) => /^(ansi-(bright-)?[a-z]+|bold|dim|underline)$/.test(name ?? ''))
      .join(' '),
  }));
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed.
const withoutControls = (text: string): string => text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '');

export type MarkedPiece = LogPiece & {
  /** Where in the line it begins. */
  at: number;
  isMatch: boolean;
};

/** The pieces with the matches of a search cut out, so that they can be marked. A match that has two colours is not marked. */
export function markMatches(pieces: readonly LogPiece[], search: string): MarkedPiece[] {
  const wanted = search.toLowerCase();
  const marked: MarkedPiece[] = [];
  let begin = 0;
  for (const { text, look } of pieces) {
    const add = (from: number, to: number, isMatch: boolean): void => {
      if (to > from) marked.push({ text: text.slice(from, to), look, at: begin + from, isMatch });
    };
    const lower = text.toLowerCase();
    let from = 0;
    for (let at = wanted === '' ? -1 : lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
      add(from, at, false);
      from = at + wanted.length;
      add(at, from, true);
    }
    add(from, text.length, false);
    begin += text.length;
  }
  return marked;
}
