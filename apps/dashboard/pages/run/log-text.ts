import Anser from 'anser';

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
