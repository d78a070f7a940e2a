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

/** The pieces with the matches of a search cut out, so that they can be marked. */
export function markMatches(pieces: readonly LogPiece[], search: string): (LogPiece & { isMatch: boolean })[] {
  if (search === '') return pieces.map((piece) => ({ ...piece, isMatch: false }));
  const wanted = search.toLowerCase();
  return pieces.flatMap(({ text, look }) => {
    const parts: (LogPiece & { isMatch: boolean })[] = [];
    let from = 0;
    for (let at = text.toLowerCase().indexOf(wanted); at >= 0; at = text.toLowerCase().indexOf(wanted, from)) {
      if (at > from) parts.push({ text: text.slice(from, at), look, isMatch: false });
      parts.push({ text: text.slice(at, at + wanted.length), look, isMatch: true });
      from = at + wanted.length;
    }
    if (from < text.length) parts.push({ text: text.slice(from), look, isMatch: false });
    return parts;
  });
}
